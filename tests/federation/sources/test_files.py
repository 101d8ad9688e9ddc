"""Kinds `directory` and `package`, the spool, and the look at what lies in it."""

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from app.federation.sources import spool as spool_module
from app.federation.sources.collected import SourceError
from app.federation.sources.inspection import inspect_items
from app.federation.sources.package import FILE_NAME
from app.federation.sources.spool import Spool, read_span
from app.federation.upstream import DirectoryUpstream, PackageUpstream
from app.rules.digest import text_digest
from tests.example_rules import rule_text
from tests.federation.poison import DUPLICATE_KEY, TOO_LONG
from tests.federation.sources.conftest import Pull, code, texts


class TestDirectory:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "rules" / "deep" / "er").mkdir(parents=True)
        return tmp_path / "rules"

    @pytest.fixture
    def upstream(self, folder: Path) -> DirectoryUpstream:
        return DirectoryUpstream(name="up", path=str(folder))

    def test_yaml_files_in_and_below_it_are_rules(
        self, folder: Path, upstream: DirectoryUpstream, pull: Pull, spool: str
    ) -> None:
        (folder / "b.yaml").write_text("B")
        (folder / "deep" / "er" / "a.yml").write_text("A")
        (folder / "notes.txt").write_text("no rule")
        (folder / ".github").mkdir()
        (folder / ".github" / "ci.yml").write_text("no rule")
        (folder / "folder.yaml").mkdir()
        os.mkfifo(folder / "pipe.yaml")
        collected = pull(upstream)
        assert texts(collected, spool) == {"b.yaml": "B", "deep/er/a.yml": "A"}
        assert collected.label

    def test_links_out_of_it_and_to_folders_are_passed_over(
        self, folder: Path, upstream: DirectoryUpstream, pull: Pull, spool: str, tmp_path: Path
    ) -> None:
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "secret.yaml").write_text("secret")
        (folder / "a.yaml").write_text("A")
        (folder / "inside.yaml").symlink_to("a.yaml")
        (folder / "out.yaml").symlink_to(tmp_path / "outside" / "secret.yaml")
        (folder / "passwd.yaml").symlink_to("/etc/passwd")
        (folder / "dangling.yaml").symlink_to("nothing")
        (folder / "away").symlink_to(tmp_path / "outside")
        (folder / "loop").symlink_to(folder)
        (folder / "self.yaml").symlink_to("self.yaml")
        assert texts(pull(upstream), spool) == {"a.yaml": "A", "inside.yaml": "A"}

    def test_a_name_that_cannot_be_printed_is_written_with_escapes(
        self, folder: Path, upstream: DirectoryUpstream, pull: Pull
    ) -> None:
        for name in (b"\xff.yaml", b"\x1b[31m.yaml", "ü.yaml".encode()):
            (folder / os.fsdecode(name)).write_text("A")
        names = {item.name for item in pull(upstream).items}
        assert names == {"\\udcff.yaml", "\\x1b[31m.yaml", "ü.yaml"}

    def test_a_mounted_config_map_is_read_once(
        self, folder: Path, upstream: DirectoryUpstream, pull: Pull, spool: str
    ) -> None:
        """The files are links through `..data` to a dated folder, as Kubernetes mounts them."""
        (folder / "..2026_11_21").mkdir()
        (folder / "..2026_11_21" / "a.yaml").write_text("A")
        (folder / "..data").symlink_to("..2026_11_21")
        (folder / "a.yaml").symlink_to("..data/a.yaml")
        assert texts(pull(upstream), spool) == {"a.yaml": "A"}

    def test_nothing_is_read_while_nothing_was_touched(
        self, folder: Path, upstream: DirectoryUpstream, pull: Pull, spool: str
    ) -> None:
        (folder / "a.yaml").write_text("A")
        first = pull(upstream)
        Path(spool).unlink()
        assert pull(upstream, first.memory).outcome == "unchanged"
        assert not Path(spool).exists()
        touched = (folder / "a.yaml").stat()
        (folder / "a.yaml").write_text("B")  # as long as before
        os.utime(folder / "a.yaml", ns=(touched.st_atime_ns, touched.st_mtime_ns))  # and as old
        second = pull(upstream, first.memory)
        assert texts(second, spool) == {"a.yaml": "B"}
        (folder / "a.yaml").rename(folder / "b.yaml")
        assert texts(pull(upstream, second.memory), spool) == {"b.yaml": "B"}

    def test_a_file_that_changes_under_the_reader_fails_the_pull(
        self, folder: Path, upstream: DirectoryUpstream, pull: Pull, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("a.yaml", "b.yaml"):
            (folder / name).write_text("as listed")
        add = Spool.add

        def add_slowly(self: Spool, name: str, text: bytes) -> None:
            (folder / "b.yaml").write_text("longer than it was listed")
            add(self, name, text)

        monkeypatch.setattr(Spool, "add", add_slowly)
        assert code(pull(upstream)) == "mixed-up"

    def test_a_folder_that_is_not_there(self, upstream: DirectoryUpstream, pull: Pull, folder: Path) -> None:
        (folder / "deep" / "er").rmdir()
        (folder / "deep").rmdir()
        folder.rmdir()
        assert code(pull(upstream)) == "not-found"
        folder.write_text("a file")
        assert code(pull(upstream)) == "unreadable"

    @pytest.mark.parametrize("bound", ["MAX_ITEMS", "MAX_ENTRIES"])
    def test_too_many_files(
        self,
        folder: Path,
        upstream: DirectoryUpstream,
        pull: Pull,
        monkeypatch: pytest.MonkeyPatch,
        bound: str,
    ) -> None:
        monkeypatch.setattr(f"app.federation.sources.directory.{bound}", 2)
        for name in "abc":
            (folder / f"{name}.yaml").write_text(name)
        assert code(pull(upstream)) == "too-large"


def bundled(rule_id: str, **more: Any) -> dict[str, Any]:
    condition = {"field": "content", "operator": "regex", "value": "evil"}
    return {
        "id": rule_id,
        "title": "A title",
        "severity": "high",
        "tags": {"category": "tool-poisoning"},
        "detection": {"conditions": [condition], "condition": "any"},
        **more,
    }


class TestPackage:
    UPSTREAM = PackageUpstream(name="up", package="bundled_rules")

    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "bundled_rules"
        folder.mkdir()
        (folder / "__init__.py").write_text("raise SystemExit('must not be imported')")
        monkeypatch.syspath_prepend(str(tmp_path))
        return folder / FILE_NAME

    def test_all_833_rules_of_pyatr_can_be_served_and_none_of_its_code_is_imported(
        self, pull: Pull, spool: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "pyatr", raising=False)  # where another test has imported it
        collected = pull(PackageUpstream(name="up", package="pyatr"))
        assert (collected.outcome, len(collected.items), collected.set_aside) == ("changed", 833, ())
        assert "pyatr" not in sys.modules
        inspected = inspect_items(spool, [(item.start, item.size) for item in collected.items], "bundled")
        assert all(one.inspection and one.rule_id for one in inspected)
        assert inspected[0].text.startswith("title: ")
        again = pull(PackageUpstream(name="other", package="pyatr"))
        assert [item.digest for item in again.items] == [item.digest for item in collected.items]

    def test_the_same_file_is_not_rendered_again(self, file: Path, pull: Pull) -> None:
        file.write_text(json.dumps([bundled("ATR-1")]))
        first = pull(self.UPSTREAM)
        assert [item.name for item in first.items] == ["ATR-1"]
        assert pull(self.UPSTREAM, first.memory).outcome == "unchanged"
        file.write_text(json.dumps([bundled("ATR-1", title="Another")]))
        assert pull(self.UPSTREAM, first.memory).outcome == "changed"

    def test_another_version_of_ours_may_render_it_otherwise(
        self, file: Path, pull: Pull, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file.write_text(json.dumps([bundled("ATR-1")]))
        first = pull(self.UPSTREAM)
        monkeypatch.setattr("app.federation.sources.package.__version__", "99")
        assert pull(self.UPSTREAM, first.memory).outcome == "changed"

    def test_what_cannot_be_written_as_a_text_is_set_aside_alone(self, file: Path, pull: Pull) -> None:
        file.write_text(json.dumps([bundled("ATR-1"), bundled("ATR-\ud800")]))
        collected = pull(self.UPSTREAM)
        assert [item.name for item in collected.items] == ["ATR-1"]
        assert [aside.rule_id for aside in collected.set_aside] == ["ATR-\\ud800"]

    @pytest.mark.parametrize(
        ("content", "expected"),
        [("not json", "not-json"), ('{"rules": []}', "shape"), ("[1, 2]", "shape"), (None, "not-found")],
    )
    def test_a_bundle_that_cannot_be_read(
        self, file: Path, pull: Pull, content: str | None, expected: str
    ) -> None:
        if content is not None:
            file.write_text(content)
        assert code(pull(self.UPSTREAM)) == expected


class TestSpool:
    def test_texts_come_back_as_they_were(self, spool: str) -> None:
        with Spool(spool) as file:
            for text in ("first", "", "zweiter: ü"):
                file.add("name", text.encode(), source="atr-community", published_at="x")
        assert [read_span(spool, item.start, item.size).decode() for item in file.items] == [
            "first",
            "",
            "zweiter: ü",
        ]
        assert [item.digest for item in file.items] == [text_digest(t) for t in ("first", "", "zweiter: ü")]

    def test_only_we_can_read_it_and_it_starts_empty(self, spool: str) -> None:
        Path(spool).parent.mkdir(mode=0o755)
        Path(spool).write_text("old and longer")
        Path(spool).chmod(0o666)
        with Spool(spool) as file:
            file.add("name", b"new")
        assert Path(spool).read_text() == "new"
        assert stat.S_IMODE(Path(spool).stat().st_mode) == 0o600
        assert stat.S_IMODE(Path(spool).parent.stat().st_mode) == 0o700

    def test_a_link_in_its_place_is_not_followed(self, spool: str, tmp_path: Path) -> None:
        Path(spool).parent.mkdir()
        target = tmp_path / "target"
        target.write_text("precious")
        Path(spool).symlink_to(target)
        with pytest.raises(OSError, match="symbolic link"), Spool(spool):
            pass
        assert target.read_text() == "precious"

    def test_it_is_bounded(self, spool: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with Spool(spool, max_bytes=5) as file:
            file.add("name", b"12345")
            with pytest.raises(SourceError, match="5 bytes"):
                file.add("name", b"6")
        monkeypatch.setattr(spool_module, "MAX_ITEMS", 1)
        with Spool(spool) as file:
            file.add("name", b"")
            with pytest.raises(SourceError, match="more than 1 rules"):
                file.add("name", b"")

    def test_a_text_that_is_not_there_is_an_error_and_not_half_a_text(self, spool: str) -> None:
        with Spool(spool) as file:
            file.add("name", b"12345")
        with pytest.raises(EOFError):
            read_span(spool, 3, 5)


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        (b"\xff\xfe", "text", "UTF-8"),
        (b"title: \x00", "line 1", "U+0000"),
        (b"", "text", "empty"),
        (b"- a list", "text", "mapping"),
        (b"{", "line", "YAML"),
        (DUPLICATE_KEY.encode(), "line", "repeats"),
        (TOO_LONG.encode(), "text", "65536"),
        (b"x" * 300_000, "text", "65536"),
    ],
)
def test_what_is_no_rule_text_gets_a_reason(spool: str, text: bytes, field: str, says: str) -> None:
    good = rule_text().encode()
    with Spool(spool) as file:
        for content in (good, text, good):
            file.add("name", content)
    spans = [(item.start, item.size) for item in file.items]
    before, odd, after = inspect_items(spool, spans, "published")
    assert before == after
    assert before.text.encode() == good
    assert (odd.text, odd.rule_id, odd.inspection) == ("", "", None)
    assert odd.reason.startswith(field)
    assert says in odd.reason


def test_a_text_far_too_long_is_not_even_read(spool: str) -> None:
    with Spool(spool) as file:
        file.add("name", b"id: ATR-2026-66603\n" + b"x" * 5000)
    (inspected,) = inspect_items(spool, [(0, 10**9)], "published")  # the spool has no more than its beginning
    assert "65536" in inspected.reason
    assert inspected.stated_id == "ATR-2026-66603"
