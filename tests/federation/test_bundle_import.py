"""Imports on a real database with real sandboxes: what a delta builds on must be here, and order survives a race."""

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlite_utils import Database

from app.bundles.files import BundleFacts
from app.federation.bundle_import import discard, import_bundle, keep_upload
from app.federation.errors import PullsFrozen
from app.federation.sources.bundle import is_reference
from app.federation.sources.collected import Item
from app.federation.status import PullResult
from app.federation.upstream import BundleUpstream
from app.storage import StorageUnavailable
from tests.bundles.exporter import Exporter, pem_of, sha256
from tests.example_rules import rule_text
from tests.federation.harness import FederationHarness

pytestmark = pytest.mark.anyio
IDS = [f"ATR-2026-{number:05d}" for number in range(1, 6)]


class Importer:
    """An instance with one upstream of kind bundle, and whoever carries files to it."""

    def __init__(self, harness: FederationHarness, exporter: Exporter) -> None:
        self.harness = harness
        self.exporter = exporter
        self.noted: list[tuple[PullResult, BundleFacts | None]] = []
        key = harness.folder / "exporter.pem"
        key.write_bytes(pem_of(exporter.key))
        self.upstream = BundleUpstream(name="outside", key_file=str(key), max_changed_percent=100)

    async def bring(self, bundle: bytes, *, force: bool = False) -> PullResult:
        """Import it; the file is gone afterwards, and so is the spool."""
        path = await keep_upload(_in_pieces(bundle), self.harness.federation.spool_dir)
        try:
            result, facts = await import_bundle(
                self.harness.federation, self.upstream, path, force, self.harness.now, self._note
            )
        finally:
            discard(path)
        assert (facts is None) == (result.outcome == "failed")
        return result

    async def refuses(self, bundle: bytes, code: str, *, force: bool = False) -> str:
        """Import one that must be refused with this code, and change nothing that is served."""
        before = await self.harness.served("outside")
        result = await self.bring(bundle, force=force)
        assert result.failure is not None
        assert (result.outcome, result.failure.code) == ("failed", code)
        assert await self.harness.served("outside") == before
        return result.failure.message

    def publish(self, **titles: str) -> int:
        """Publish rules with these titles: `_1="..."` is the first of `IDS`."""
        rules = {IDS[int(name[1:]) - 1]: title for name, title in titles.items()}
        return self.exporter.publish(
            named={i: title if "\n" in title else rule_text(i, title=title) for i, title in rules.items()}
        )

    def _note(self, _: Database, result: PullResult, facts: BundleFacts | None) -> None:
        self.noted.append((result, facts))


async def _in_pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1000):
        yield content[start : start + 1000]


@pytest.fixture
async def importer(harness: FederationHarness) -> Importer:
    made = Importer(harness, Exporter())
    await harness.configure(made.upstream)
    return made


async def test_a_delta_on_texts_that_are_not_here_is_a_gap_even_by_force(importer: Importer) -> None:
    importer.publish(_1="one", _2="two")
    importer.publish(_1="one", _2="two changed")
    delta = importer.exporter.bundle(since=1)
    await importer.refuses(delta, "gap")
    assert IDS[0] in await importer.refuses(delta, "gap", force=True)
    assert await importer.harness.served("outside") == {}
    assert (await importer.harness.status("outside")).state == "failing"
    assert (await importer.bring(importer.exporter.bundle())).added == 2
    assert await importer.harness.served("outside") == {IDS[0]: "one", IDS[1]: "two changed"}
    assert (await importer.harness.status("outside")).state == "ok"


async def test_a_rule_that_was_set_aside_does_not_break_the_deltas_after_it(importer: Importer) -> None:
    importer.publish(_1="one", _2=f"id: {IDS[1]}\ntitle: no rule\n")
    assert (await importer.bring(importer.exporter.bundle())).set_aside == 1
    importer.publish(_1="one changed", _2=f"id: {IDS[1]}\ntitle: no rule\n")
    importer.publish(_1="one changed", _2=f"id: {IDS[1]}\ntitle: no rule\n", _3="three")
    result = await importer.bring(importer.exporter.bundle(since=1))
    assert (result.outcome, result.added, result.changed, result.set_aside) == ("changed", 1, 1, 1)
    assert await importer.harness.served("outside") == {IDS[0]: "one changed", IDS[2]: "three"}


async def test_a_text_that_was_set_aside_does_not_take_its_predecessor_out_of_service(
    importer: Importer,
) -> None:
    importer.publish(_1="one", _2="two")
    await importer.bring(importer.exporter.bundle())
    importer.publish(_1="one", _2=f"id: {IDS[1]}\ntitle: no rule\n")
    await importer.bring(importer.exporter.bundle(since=1))
    importer.publish(_1="one changed", _2=f"id: {IDS[1]}\ntitle: no rule\n")
    result = await importer.bring(importer.exporter.bundle(since=2))
    assert (result.changed, result.withdrawn, result.set_aside) == (1, 0, 1)
    assert await importer.harness.served("outside") == {IDS[0]: "one changed", IDS[1]: "two"}


async def test_a_held_bundle_is_what_the_next_delta_builds_on(importer: Importer) -> None:
    importer.publish(_1="one", _2="two", _3="three")
    await importer.bring(importer.exporter.bundle())
    importer.publish(_1="one", _4="four")
    held = await importer.bring(importer.exporter.bundle(since=1))
    assert (held.outcome, held.held) == ("held", 3)
    importer.publish(_1="one", _2="two", _3="three", _4="four")
    result = await importer.bring(importer.exporter.bundle(since=2))
    assert (result.outcome, result.added, result.held) == ("changed", 1, 0)
    assert len(await importer.harness.served("outside")) == 4


async def test_a_text_that_went_and_came_back_is_still_known(importer: Importer) -> None:
    importer.upstream = replace(importer.upstream, max_withdrawn_percent=100)
    await importer.harness.configure(importer.upstream)
    importer.publish(_1="one", _2="two")
    await importer.bring(importer.exporter.bundle())
    importer.publish(_1="one")
    await importer.bring(importer.exporter.bundle())
    importer.publish(_1="one", _2="two")
    assert (await importer.bring(importer.exporter.bundle(since=1))).added == 1
    assert await importer.harness.served("outside") == {IDS[0]: "one", IDS[1]: "two"}


def test_an_empty_text_is_a_text() -> None:
    assert is_reference(Item("x", 0, 0, sha256("text")))
    assert not is_reference(Item("x", 0, 0, sha256("")))


async def test_two_imports_at_once_cannot_go_back(importer: Importer) -> None:
    importer.publish(_1="one")
    older = importer.exporter.bundle()
    importer.publish(_1="one changed")
    results = await asyncio.gather(importer.bring(importer.exporter.bundle()), importer.bring(older))
    outcomes = [result.outcome for result in results]
    assert outcomes in (["changed", "changed"], ["changed", "failed"])
    assert await importer.harness.served("outside") == {IDS[0]: "one changed"}


async def test_every_import_is_noted_in_the_transaction_that_lands_it(importer: Importer) -> None:
    importer.publish(_1="one")
    bundle = importer.exporter.bundle()
    await importer.bring(bundle)
    await importer.bring(bundle)
    await importer.refuses(bundle[:-1], "truncated")
    assert [result.outcome for result, _ in importer.noted] == ["changed", "unchanged", "failed"]
    assert [facts is not None for _, facts in importer.noted] == [True, True, False]


async def test_nothing_lands_while_a_rollback_holds(importer: Importer) -> None:
    importer.publish(_1="one")
    importer.harness.hold = "to publication 1"
    with pytest.raises(PullsFrozen):
        await importer.bring(importer.exporter.bundle())
    assert await importer.harness.served("outside") == {}
    assert not list(importer.harness.federation.spool_dir.iterdir())


async def test_an_upload_is_private_and_leaves_nothing_when_it_breaks_off(harness: FederationHarness) -> None:
    folder = harness.federation.spool_dir
    path = await keep_upload(_in_pieces(b"x" * 2500), folder)
    assert path.read_bytes() == b"x" * 2500
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(folder.stat().st_mode)) == (0o600, 0o700)
    discard(path)

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise ConnectionError

    with pytest.raises((ConnectionError, StorageUnavailable)):
        await keep_upload(broken(), folder)
    assert not list(folder.iterdir())


async def test_a_start_clears_away_what_a_crash_left(harness: FederationHarness) -> None:
    left = await keep_upload(_in_pieces(b"x"), harness.federation.spool_dir)
    await harness.configure()
    assert not left.exists()


async def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageUnavailable):
        await keep_upload(_in_pieces(b"x"), tmp_path / "file" / "spool")
