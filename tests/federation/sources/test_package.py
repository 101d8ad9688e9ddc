"""Kind `package`: what an installed Python package carries, read as data."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from app.federation.sources.inspection import inspect_items
from app.federation.sources.package import FILE_NAME
from app.federation.upstream import PackageUpstream
from tests.federation.sources.conftest import Pull, code


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
