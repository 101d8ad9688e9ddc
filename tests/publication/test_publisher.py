"""Publications over a real database and real keys: serials, instants, signatures, rollback, restart."""

import asyncio
import base64
import contextlib
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from sqlite_utils import Database

from app.http.timestamps import from_text, to_text
from app.overlay.entries import OverlayDecision, add, recompute_overlay
from app.overlay.resolve import OverlayAction
from app.publication import store
from app.publication.errors import NoSuchPublication, NotFrozen
from app.publication.policy import PublicationPolicy
from app.publication.publisher import Publisher
from app.publication.selection import Selection
from app.publication.served_set import RepresentationName, closing
from app.rules.inspect import inspect_text
from app.rules.store import put_text, set_state, store_rule, yield_id
from app.rules.validate import Profile
from app.signing.keys import SigningKeys
from app.storage import Storage
from tests.example_rules import rule_text

NOON = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class World:
    """A database with a publisher, and rules put into it directly."""

    def __init__(self, folder: Path, keep: int = 200) -> None:
        self.storage = Storage(folder)
        self.keys = SigningKeys.open(folder, NOON)
        self.publisher = Publisher(
            self.storage, self.keys, PublicationPolicy(keep=keep), "urn:threatcloud:test"
        )

    async def hold(
        self,
        rule_id: str,
        origin: str = "local",
        state: Any = "active",
        source: str | None = None,
        **text: str,
    ) -> None:
        content = rule_text(rule_id, **text)

        def work(db: Database) -> None:
            digest = put_text(db, inspect_text(content, profile=Profile.PUBLISHED), content)
            pattern = f"hash-of-{rule_id}" if origin == "community" else None
            store_rule(
                db,
                origin=origin,
                rule_id=rule_id,
                digest=digest,
                state=state,
                at=to_text(NOON),
                pattern_hash=pattern,
                source=source,
            )

        await self.storage.write(work)

    async def drop(self, rule_id: str, origin: str = "local", state: Any = "withdrawn") -> None:
        await self.storage.write(
            lambda db: set_state(
                db, origin=origin, rule_id=rule_id, state=state, reason="test", at=to_text(NOON)
            )
        )

    async def overlay(self, rule_id: str, action: OverlayAction) -> None:
        decision = OverlayDecision(rule_id=rule_id, action=action, owner="soc", reason="test")

        def work(db: Database) -> None:
            add(db, decision, to_text(NOON))
            recompute_overlay(db, to_text(NOON))

        await self.storage.write(work)

    def served(self, representation: RepresentationName = "live", *, canary: bool = False) -> dict[str, Any]:
        served = self.publisher.served
        assert served is not None
        wanted = served.representation(representation, canary=canary)
        body: dict[str, Any] = json.loads(wanted.body.plain + closing("r1"))
        assert body["meta"]["etag"] == wanted.etag
        assert body["meta"]["total"] == len(body["data"]) == len(wanted.entries)
        return body

    def ids(self, representation: RepresentationName = "live", *, canary: bool = False) -> list[str]:
        return [rule["ruleId"] for rule in self.served(representation, canary=canary)["data"]]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = World(tmp_path)
    yield opened
    await opened.storage.close()


async def test_an_empty_set_is_a_publication_too(world: World) -> None:
    record = await world.publisher.publish("start", NOON)
    assert record is not None
    assert (record.serial, record.total) == (1, 0)
    assert world.served() == {
        "ok": True,
        "data": [],
        "meta": {"total": 0, "etag": 'W/"0-2026-11-21T12:00:00.250Z"'},
        "request_id": "r1",
    }


async def test_nothing_new_is_no_publication(world: World) -> None:
    await world.hold("ATR-2026-90001")
    assert await world.publisher.publish("import", NOON) is not None
    assert await world.publisher.publish("import", NOON + timedelta(hours=1)) is None
    assert len(await world.storage.read(lambda db: store.newest_records(db, 10, None))) == 1


async def test_the_live_body_has_just_the_members_of_the_seed(world: World) -> None:
    await world.hold("ATR-2026-90001")
    await world.publisher.publish("import", NOON)
    assert world.served()["data"] == [
        {
            "ruleId": "ATR-2026-90001",
            "ruleContent": rule_text("ATR-2026-90001"),
            "publishedAt": "2026-11-21T12:00:00.250Z",
            "source": "atr-community",
            "category": "tool-poisoning",
            "severity": "high",
            "mitreTechniques": "AML.T0051,AML.T0057",
            "tags": "key-request,mcp,high",
        }
    ]


async def test_every_representation_is_ascii_and_its_signatures_hold(world: World) -> None:
    await world.hold("ATR-2026-90001", title="Schlüssel 鍵 🔑")
    await world.publisher.publish("import", NOON)
    public = world.keys.signer("rule").public
    for representation in ("yaml", "guard"):
        (rule,) = world.served(representation)["data"]
        public.verify(base64.b64decode(rule["signature"]), rule["ruleContent"].encode())
    served = world.publisher.served
    assert served is not None
    assert all(wanted.body.plain.isascii() for wanted in served.representations.values())
    guard = json.loads(world.served("guard")["data"][0]["ruleContent"])
    assert guard["title"] == "Schlüssel 鍵 🔑"
    assert guard["agent_source"]["type"] == "mcp_exchange"
    assert not guard["detection"]["conditions"][0]["value"].startswith("(?i)")


async def test_instants_are_seconds_apart_however_fast_publications_follow(world: World) -> None:
    tags, modified = set(), set()
    for number in range(4):
        await world.hold(f"ATR-2026-9000{number}")
        await world.publisher.publish("burst", NOON)
        served = world.publisher.served
        assert served is not None
        tags.add(served.representation("live", canary=False).etag)
        modified.add(served.last_modified)
    assert len(tags) == len(modified) == 4


async def test_a_clock_that_was_set_back_never_repeats_a_tag(world: World) -> None:
    await world.hold("ATR-2026-90001")
    first = await world.publisher.publish("one", NOON)
    await world.hold("ATR-2026-90002")
    second = await world.publisher.publish("two", NOON - timedelta(days=30))
    assert first is not None
    assert second is not None
    assert first.published_at < second.published_at


async def test_an_unchanged_rule_keeps_its_instant_and_a_changed_one_gets_a_new(world: World) -> None:
    await world.hold("ATR-2026-90001")
    await world.hold("ATR-2026-90002")
    await world.publisher.publish("import", NOON)
    await world.hold("ATR-2026-90002", title="Another title")
    await world.publisher.publish("edit", NOON + timedelta(hours=1))
    instants = {rule["ruleId"]: rule["publishedAt"] for rule in world.served()["data"]}
    assert instants == {
        "ATR-2026-90001": "2026-11-21T12:00:00.250Z",
        "ATR-2026-90002": "2026-11-21T13:00:00.250Z",
    }


async def test_what_left_the_set_is_listed_until_it_is_back(world: World) -> None:
    await world.hold("ATR-2026-90001")
    await world.hold("ATR-2026-90002")
    await world.publisher.publish("import", NOON)
    await world.drop("ATR-2026-90001")
    await world.publisher.publish("withdraw", NOON + timedelta(hours=1))
    assert world.ids("yaml") == ["ATR-2026-90002"]
    assert world.served("yaml")["meta"]["withdrawn"] == ["ATR-2026-90001"]
    served = world.publisher.served
    assert served is not None
    assert served.withdrawn_since(to_text(NOON + timedelta(hours=2))) == []
    await world.hold("ATR-2026-90001")
    await world.publisher.publish("again", NOON + timedelta(hours=3))
    assert world.served("yaml")["meta"]["withdrawn"] == []


async def test_canary_rules_are_for_the_canary_ring_only(world: World) -> None:
    await world.hold("ATR-2026-90001")
    await world.hold("ATR-2026-90002", origin="community", state="canary")
    record = await world.publisher.publish("cycle", NOON)
    assert record is not None
    assert (record.total, record.canary) == (2, 1)
    assert world.ids("live", canary=True) == ["ATR-2026-90001"]
    assert world.ids("guard") == ["ATR-2026-90001"]
    assert world.ids("guard", canary=True) == ["ATR-2026-90001", "ATR-2026-90002"]


async def test_a_rule_that_no_guard_can_load_is_left_out_there_only(world: World) -> None:
    await world.hold("ATR-2026-90001", pattern="(a+)+$")
    await world.publisher.publish("import", NOON)
    assert world.ids("yaml") == ["ATR-2026-90001"]
    assert world.ids("guard") == []


async def test_since_cuts_the_same_bytes_that_the_whole_body_has(world: World) -> None:
    await world.hold("ATR-2026-90001")
    await world.publisher.publish("one", NOON)
    await world.hold("ATR-2026-90002")
    await world.publisher.publish("two", NOON + timedelta(hours=1))
    served = world.publisher.served
    assert served is not None
    wanted = served.representation("yaml", canary=False)
    count, excerpt = wanted.excerpt(Selection(to_text(NOON + timedelta(minutes=30)), ()).keeps)
    assert count == 1
    assert json.loads(excerpt) == world.served("yaml")["data"][1]
    assert Selection(to_text(NOON - timedelta(days=1)), ()).is_everything(wanted)
    assert not Selection("", (("severity", "low"),)).is_everything(wanted)


async def test_a_restart_serves_the_same_bytes(world: World, tmp_path: Path) -> None:
    await world.hold("ATR-2026-90001")
    await world.hold("ATR-2026-90002", origin="community", state="canary")
    await world.publisher.publish("import", NOON)
    before = world.publisher.served
    await world.storage.close()
    world.__init__(tmp_path)  # type: ignore[misc]
    await world.publisher.load()
    assert world.publisher.served == before
    for damage in (
        "DELETE FROM publication_sheet",
        "UPDATE publication_sheet SET gzip = randomblob(length(gzip))",
        "UPDATE publication_sheet SET gzip = x''",
        "UPDATE publication_sheet SET gzip = substr(gzip, 1, length(gzip) - 100)",
        "UPDATE publication_sheet SET entries = x'00'",
    ):
        await world.storage.write(lambda db, damage=damage: db.execute(damage) and None)  # type: ignore[misc]
        again = Publisher(world.storage, world.keys, PublicationPolicy(), "urn:threatcloud:test")
        await again.load()
        assert again.served == before, damage


WITH_BOTH_FORMS = """
    CREATE TABLE publication_body (
        serial INTEGER NOT NULL REFERENCES publication (serial), representation TEXT NOT NULL, ring TEXT NOT NULL,
        body BLOB NOT NULL, gzip BLOB NOT NULL, entries BLOB NOT NULL, PRIMARY KEY (serial, representation, ring)
    ) STRICT;
    INSERT INTO publication_body SELECT serial, representation, ring, x'00', gzip, entries FROM publication_sheet;
    DROP TABLE publication_sheet;
    DELETE FROM _sqlite_migrations WHERE name = 'm0009_sheets';
"""
"""Makes of a database one as it was before the migration."""


async def test_a_database_with_both_forms_of_each_body_serves_the_same_bytes(
    world: World, tmp_path: Path
) -> None:
    await world.hold("ATR-2026-90001")
    await world.publisher.publish("import", NOON)
    before = world.publisher.served
    await world.storage.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "threatcloud.db")) as database:
        database.executescript(WITH_BOTH_FORMS)
    world.__init__(tmp_path)  # type: ignore[misc]
    await world.publisher.load()
    assert world.publisher.served == before


async def test_the_manifest_is_signed_names_every_rule_and_its_predecessor(world: World) -> None:
    await world.hold("ATR-2026-90001")
    first = await world.publisher.publish("one", NOON)
    await world.hold("ATR-2026-90002")
    second = await world.publisher.publish("two", NOON + timedelta(hours=1))
    assert first is not None
    assert second is not None
    signer = world.keys.signer("manifest")
    assert jwt.get_unverified_header(second.manifest)["kid"] == signer.kid
    claims = jwt.decode(second.manifest, signer.public, algorithms=["EdDSA"])
    assert claims["serial"] == 2
    assert claims["previous"] == hashlib.sha256(first.manifest.encode()).hexdigest()
    texts = {
        i: hashlib.sha256(rule_text(i).encode()).hexdigest() for i in ("ATR-2026-90001", "ATR-2026-90002")
    }
    assert claims["rules"] == texts


async def test_a_rollback_serves_the_old_set_under_a_new_serial_and_holds(world: World) -> None:
    await world.hold("ATR-2026-90001")
    await world.publisher.publish("good", NOON)
    await world.hold("ATR-2026-90002")
    await world.publisher.publish("bad", NOON + timedelta(hours=1))
    later = NOON + timedelta(hours=2)
    record = await world.publisher.roll_back(1, "bad rule", later, lambda _db: None)
    assert (record.serial, record.restores) == (3, 1)
    assert world.ids() == ["ATR-2026-90001"]
    assert world.served("yaml")["meta"]["withdrawn"] == ["ATR-2026-90002"]
    await world.hold("ATR-2026-90003")
    assert await world.publisher.publish("held back", later) is None
    released = await world.publisher.resume(later, lambda _db: None)
    assert released is not None
    assert world.ids() == ["ATR-2026-90001", "ATR-2026-90002", "ATR-2026-90003"]
    with pytest.raises(NotFrozen):
        await world.publisher.resume(later, lambda _db: None)


async def test_a_rollback_never_brings_back_what_was_quarantined(world: World) -> None:
    await world.hold("ATR-2026-90001")
    await world.hold("ATR-2026-90002", origin="community")
    await world.publisher.publish("both", NOON)
    await world.drop("ATR-2026-90002", "community", "quarantined")
    await world.publisher.publish("quarantine", NOON + timedelta(hours=1))
    await world.publisher.roll_back(1, "test", NOON + timedelta(hours=2), lambda _db: None)
    assert world.ids() == ["ATR-2026-90001"]


async def test_a_rollback_never_serves_a_community_rule_under_an_id_that_it_gave_up(world: World) -> None:
    await world.hold("ATR-2026-90001")
    await world.hold("ATR-2026-90002", origin="community")
    await world.publisher.publish("both", NOON)
    await world.publisher.roll_back(1, "test", NOON + timedelta(hours=1), lambda _db: None)
    await world.storage.write(lambda db: yield_id(db, "ATR-2026-90002", to_text(NOON)))
    await world.publisher.publish("renamed", NOON + timedelta(hours=2))
    assert world.ids() == ["ATR-2026-90001"]


async def test_provenance_is_served_as_upstream_said_and_a_rollback_serves_it_again(world: World) -> None:
    await world.hold("ATR-2026-00001", "upstream:chain", source="atr")
    await world.hold("ATR-2026-00002", "upstream:chain", source="atr-community")
    await world.hold("ATR-2026-00003", "upstream:old")  # held since before upstreams said
    first = await world.publisher.publish("pull", NOON)
    assert first is not None
    said = {rule["ruleId"]: rule["source"] for rule in world.served()["data"]}
    assert said == {
        "ATR-2026-00001": "atr",
        "ATR-2026-00002": "atr-community",
        "ATR-2026-00003": "atr",
    }
    await world.hold("ATR-2026-00001", "upstream:chain", source="atr-community")
    changed = await world.publisher.publish("pull", NOON + timedelta(hours=1))
    assert changed is not None
    again = await world.publisher.roll_back(1, "test", NOON + timedelta(hours=2), lambda _db: None)
    assert again.digest == first.digest != changed.digest
    assert {rule["ruleId"]: rule["source"] for rule in world.served()["data"]} == said


async def test_publications_from_before_provenance_was_kept_still_work(world: World) -> None:
    await world.hold("ATR-2026-00001", "upstream:atr")
    await world.hold("ATR-2026-90001")
    first = await world.publisher.publish("pull", NOON)
    await world.storage.write(lambda db: db.execute("UPDATE publication_rule SET source = NULL") and None)
    assert await world.publisher.publish("again", NOON + timedelta(hours=1)) is None
    rolled = await world.publisher.roll_back(1, "test", NOON + timedelta(hours=2), lambda _db: None)
    assert first is not None
    assert rolled.digest == first.digest


async def test_the_upstream_with_the_higher_priority_is_served(world: World) -> None:
    await world.hold("ATR-2026-00001", "upstream:a", title="From a")
    await world.hold("ATR-2026-00001", "upstream:b", title="From b")
    for name, priority in (("a", 100), ("b", 101)):
        await world.storage.write(
            lambda db, row=(name, priority): (  # type: ignore[misc]
                db.execute("INSERT INTO upstream (name, priority) VALUES (?, ?)", list(row)) and None
            )
        )
    await world.publisher.publish("pull", NOON)
    (rule,) = world.served()["data"]
    assert "From b" in rule["ruleContent"]


async def test_a_filter_keeps_a_rule_out_until_an_overlay_brings_it_back(world: World) -> None:
    await world.hold("ATR-2026-00001", "upstream:a")
    await world.hold("ATR-2026-00002", "upstream:a")
    await world.storage.write(
        lambda db: (
            db.execute("UPDATE rule SET excluded = 'severity' WHERE rule_id = 'ATR-2026-00002'") and None
        )
    )
    await world.publisher.publish("pull", NOON)
    assert world.ids() == ["ATR-2026-00001"]
    await world.overlay("ATR-2026-00002", "enable")
    await world.publisher.publish("overlay", NOON + timedelta(hours=1))
    assert world.ids() == ["ATR-2026-00001", "ATR-2026-00002"]


async def test_what_an_overlay_disables_stays_out_of_a_rollback_also_when_upstream_dropped_it(
    world: World,
) -> None:
    for number in (1, 2, 3):
        await world.hold(f"ATR-2026-0000{number}", "upstream:a")
    await world.publisher.publish("pull", NOON)
    await world.publisher.roll_back(1, "test", NOON + timedelta(hours=1), lambda _db: None)
    await world.overlay("ATR-2026-00001", "disable")
    assert await world.publisher.publish("overlay", NOON + timedelta(hours=2)) is not None
    assert world.ids() == ["ATR-2026-00002", "ATR-2026-00003"]
    await world.drop("ATR-2026-00002", "upstream:a")
    await world.overlay("ATR-2026-00002", "disable")
    await world.publisher.publish("overlay", NOON + timedelta(hours=3))
    assert world.ids() == ["ATR-2026-00003"]


async def test_quarantine_takes_effect_during_a_rollback(world: World) -> None:
    await world.hold("ATR-2026-90001")
    await world.hold("ATR-2026-90002", origin="community")
    await world.publisher.publish("both", NOON)
    await world.publisher.roll_back(1, "test", NOON + timedelta(hours=1), lambda _db: None)
    await world.drop("ATR-2026-90002", "community", "quarantined")
    assert await world.publisher.publish("quarantine", NOON + timedelta(hours=2)) is not None
    assert world.ids() == ["ATR-2026-90001"]


async def test_an_unknown_serial_is_refused_and_holds_nothing(world: World) -> None:
    await world.publisher.publish("start", NOON)
    with pytest.raises(NoSuchPublication):
        await world.publisher.roll_back(99, "typo", NOON, lambda _db: None)
    assert await world.storage.read(store.freeze) is None


async def test_only_so_many_publications_are_kept_but_the_held_one_always(tmp_path: Path) -> None:
    world = World(tmp_path, keep=3)
    for number in range(6):
        await world.hold(f"ATR-2026-9000{number}")
        await world.publisher.publish(f"number {number}", NOON + timedelta(hours=number))
    kept = await world.storage.read(lambda db: [r.serial for r in store.newest_records(db, 99, None)])
    assert kept == [6, 5, 4]
    await world.publisher.roll_back(4, "test", NOON + timedelta(days=1), lambda _db: None)
    for number in range(4):
        await world.publisher.publish("again", NOON + timedelta(days=2, hours=number), again=True)
    kept = await world.storage.read(lambda db: [r.serial for r in store.newest_records(db, 99, None)])
    assert kept == [11, 10, 9, 4]
    await world.storage.close()


async def test_publications_at_once_follow_each_other(world: World) -> None:
    async def import_one(number: int) -> None:
        await world.hold(f"ATR-2026-9000{number}")
        await world.publisher.publish(f"import {number}", NOON + timedelta(minutes=number))

    await asyncio.gather(*(import_one(number) for number in range(8)))
    records = await world.storage.read(lambda db: store.newest_records(db, 99, None))
    serials = [record.serial for record in records]
    instants = [from_text(record.published_at) for record in records]
    assert serials == sorted(serials, reverse=True)
    assert instants == sorted(instants, reverse=True)
    assert len(world.ids()) == 8
