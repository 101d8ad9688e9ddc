"""Kind `directory`: which files are read, and when none is."""

import os
from pathlib import Path

import pytest

from app.federation.sources.spool import Spool
from app.federation.upstream import DirectoryUpstream
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
