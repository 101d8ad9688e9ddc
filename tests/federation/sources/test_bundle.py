"""Kind `bundle`: what continues what was taken before is taken, all else is refused with its reason."""

import os
import stat
from pathlib import Path

import msgspec
import pytest

from app.bundles.format import MAX_BYTES
from app.federation.sources.bundle import open_bundle
from app.federation.sources.collected import Collected, Memory
from app.federation.sources.registry import collect
from app.federation.upstream import BundleUpstream
from tests.bundles.exporter import EXPORTED_AT, Exporter, members_of, new_key, pem_of, repacked, sha256
from tests.clock import NOW_TEXT

KEY = new_key()


class Courier:
    """An importer's side: a configured path, its key file, its spool, and what it remembers."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "in.tcbundle"
        self.pem = folder / "exporter.pem"
        self.pem.write_bytes(pem_of(KEY))
        self.spool = folder / "spool" / "partner.pull"
        self.upstream = BundleUpstream(name="partner", key_file=str(self.pem), path=str(self.file))
        self.memory = Memory()

    def bring(self, bundle: bytes) -> Collected:
        """Put a bundle there and look; what succeeds is remembered."""
        self.file.write_bytes(bundle)
        return self.look()

    def look(self) -> Collected:
        """Look at what is there."""
        collected = collect(self.upstream, self.memory, NOW_TEXT, str(self.spool))
        if collected.outcome != "failed":
            self.memory = collected.memory
        return collected

    def refuses(self, bundle: bytes) -> tuple[str, str]:
        """Bring one that must be refused, and change nothing that is remembered; returns code and message."""
        before = self.memory
        collected = self.bring(bundle)
        assert collected.failure is not None, collected
        assert (collected.outcome, self.memory, collected.items) == ("failed", before, ())
        return collected.failure.code, collected.failure.message

    def texts(self, collected: Collected) -> dict[str, str | None]:
        """`rule -> text`; None for one that is known by its digest alone."""
        spooled = self.spool.read_bytes()
        return {
            item.name: spooled[item.start : item.start + item.size].decode() if item.size else None
            for item in collected.items
        }


@pytest.fixture
def courier(tmp_path: Path) -> Courier:
    return Courier(tmp_path)


@pytest.fixture
def exporter() -> Exporter:
    made = Exporter(KEY)
    made.publish("first", "second")
    return made


def test_a_first_bundle_brings_everything(courier: Courier, exporter: Exporter) -> None:
    collected = courier.bring(exporter.bundle())
    assert collected.outcome == "changed"
    assert not collected.is_partial
    assert courier.texts(collected) == {"ATR-2026-1": "first", "ATR-2026-2": "second"}
    assert {item.digest for item in collected.items} == {sha256("first"), sha256("second")}
    assert {item.published_at for item in collected.items} == {"2026-11-01T00:00:00.000Z"}
    assert collected.label == f"serial 1, exported {EXPORTED_AT}"
    assert collected.memory.serial == 1
    assert collected.memory.manifest == sha256(exporter.manifests[0])
    assert stat.S_IMODE(courier.spool.stat().st_mode) == 0o600


def test_the_same_publication_again_is_nothing_new(courier: Courier, exporter: Exporter) -> None:
    exporter.publish("first", "changed")
    courier.bring(exporter.bundle())
    for again in (exporter.bundle(), exporter.bundle(since=1)):
        collected = courier.bring(again)
        assert (collected.outcome, collected.items, collected.memory.serial) == ("unchanged", (), 2)
        assert courier.look().outcome == "unchanged"


def test_the_same_file_is_not_read_twice_unless_the_keys_changed(
    courier: Courier, exporter: Exporter
) -> None:
    courier.bring(exporter.bundle())
    courier.spool.unlink()
    assert courier.look().outcome == "unchanged"
    assert not courier.spool.exists()
    courier.pem.write_bytes(pem_of(new_key()))
    failed = courier.look()
    assert failed.failure is not None
    assert failed.failure.code == "signature"


def test_a_delta_brings_new_texts_and_names_the_others(courier: Courier, exporter: Exporter) -> None:
    courier.bring(exporter.bundle())
    exporter.publish("first", "second", "third")
    exporter.publish("first", "second changed", "third")
    collected = courier.bring(exporter.bundle(since=1))
    expected = {"ATR-2026-1": None, "ATR-2026-2": "second changed", "ATR-2026-3": "third"}
    assert courier.texts(collected) == expected
    assert courier.memory.serial == 3


def test_a_delta_may_reach_further_back(courier: Courier, exporter: Exporter) -> None:
    exporter.publish("first", "second", "third")
    courier.bring(exporter.bundle())
    exporter.publish("first changed", "second", "third")
    assert courier.bring(exporter.bundle(since=1)).outcome == "changed"


def test_a_gap_in_the_serials_is_refused(courier: Courier, exporter: Exporter) -> None:
    exporter.publish("first", "second", "third")
    assert courier.refuses(exporter.bundle(since=1)) == (
        "gap",
        "It starts after publication 1, but nothing was taken yet.",
    )
    courier.bring(exporter.bundle())
    exporter.publish("first")
    exporter.publish("first changed")
    code, message = courier.refuses(exporter.bundle(since=3))
    assert code == "gap"
    assert "publication 2 was the last one taken" in message
    assert courier.bring(exporter.bundle(since=2)).outcome == "changed"


def test_an_exporter_that_took_another_way(courier: Courier, exporter: Exporter) -> None:
    """It was set back to publication 1 by a backup, and went on from there: same key, another chain."""
    other = Exporter(KEY)
    other.publish("first", "second")
    exporter.publish("first")
    other.publish("other")
    courier.bring(exporter.bundle())
    assert courier.refuses(other.bundle())[0] == "rollback"
    other.publish("first", "second", "third")
    assert courier.refuses(other.bundle(since=2))[0] == "gap"
    assert courier.refuses(other.bundle(since=1))[0] == "gap"
    assert courier.bring(other.bundle()).outcome == "changed"


def test_rollback_and_replay(courier: Courier, exporter: Exporter) -> None:
    old = exporter.bundle()
    exporter.publish("first", "second", "third")
    delta = exporter.bundle(since=1)
    exporter.publish("first")
    courier.bring(exporter.bundle())
    for bundle in (old, delta):
        code, message = courier.refuses(bundle)
        assert code == "rollback"
        assert "publication 3 was taken before" in message


def test_force_waives_order_and_nothing_else(courier: Courier, exporter: Exporter) -> None:
    old = exporter.bundle()
    exporter.publish("first", "second", "third")
    courier.bring(exporter.bundle())
    exporter.publish("first")
    exporter.publish("second")

    def forced(bundle: bytes) -> Collected:
        courier.file.write_bytes(bundle)
        spool = str(courier.spool)
        return open_bundle(str(courier.file), courier.upstream, courier.memory, True, spool).collected

    assert forced(old).memory.serial == 1
    assert forced(exporter.bundle(since=3)).outcome == "changed"
    courier.memory = msgspec.structs.replace(courier.memory, serial=4)
    assert forced(exporter.bundle(since=3)).outcome == "changed"
    assert forced(exporter.bundle(since=3)).memory.serial == 4
    members = members_of(old)
    refused = [
        Exporter(new_key()),
    ]
    refused[0].publish("first")
    for bundle, code in (
        (repacked([*members[:-1], (members[-1][0], b"tampered")]), "integrity"),
        (refused[0].bundle(), "signature"),
        (old[:-20], "truncated"),
    ):
        failure = forced(bundle).failure
        assert failure is not None
        assert failure.code == code


def test_tampering_leaves_nothing_behind_but_its_reason(courier: Courier, exporter: Exporter) -> None:
    courier.bring(exporter.bundle())
    exporter.publish("first", "third")
    members = members_of(exporter.bundle())
    tampered = repacked([*members[:-1], (members[-1][0], b"other")])
    assert courier.refuses(tampered)[0] == "integrity"
    assert courier.refuses(exporter.bundle()[:-30])[0] == "truncated"
    assert courier.bring(exporter.bundle()).outcome == "changed"


def test_a_rotation_of_keys(courier: Courier, exporter: Exporter) -> None:
    courier.bring(exporter.bundle())
    exporter.key = successor = new_key()
    exporter.publish("first", "third")
    assert courier.refuses(exporter.bundle(since=1))[0] == "signature"
    courier.pem.write_bytes(pem_of(KEY, successor))
    assert courier.bring(exporter.bundle(since=1)).outcome == "changed"
    courier.pem.write_bytes(pem_of(successor))
    exporter.publish("first")
    assert courier.bring(exporter.bundle(since=2)).outcome == "changed"


def test_places_without_a_bundle(courier: Courier, tmp_path: Path) -> None:
    def failure() -> str:
        failed = courier.look().failure
        assert failed is not None
        return failed.code

    assert failure() == "not-found"
    os.mkfifo(courier.file)
    assert failure() == "unreadable"
    courier.file.unlink()
    courier.file.mkdir()
    assert failure() == "unreadable"
    courier.file.rmdir()
    with courier.file.open("wb") as huge:
        huge.truncate(MAX_BYTES + 1)
    assert failure() == "too-large"
    courier.file.write_bytes(b"x")
    courier.pem.unlink()
    assert failure() == "key"
    courier.upstream = msgspec.structs.replace(courier.upstream, path=None)
    assert failure() == "not-found"


def test_a_symbolic_link_may_point_to_the_newest_bundle(
    courier: Courier, exporter: Exporter, tmp_path: Path
) -> None:
    place = tmp_path / "1.tcbundle"
    place.write_bytes(exporter.bundle())
    courier.file.symlink_to(place)
    assert courier.look().outcome == "changed"
