"""The spool: the raw texts of one pull in one file."""

import stat
from pathlib import Path

import pytest

from app.federation.sources import spool as spool_module
from app.federation.sources.collected import SourceError
from app.federation.sources.spool import Spool, read_span
from app.rules.compare import text_digest


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
