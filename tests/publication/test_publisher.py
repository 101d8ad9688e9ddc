"""Publications over a real database and real keys: serials, instants, signatures, rollback, restart."""

import asyncio
import base64
import contextlib
import hashlib
import json
import sqlite3
from datetime import timedelta
from pathlib import Path

import jwt
import pytest

from app.http.timestamps import from_text, to_text
from app.publication import store
from app.publication.errors import NoSuchPublication, NotFrozen
from app.publication.selection import Selection
from app.rules.store import yield_id
from tests.clock import NOW
from tests.example_rules import rule_text
from tests.publication.harness import PublicationHarness

pytestmark = pytest.mark.anyio


async def test_an_empty_set_is_a_publication_too(harness: PublicationHarness) -> None:
    record = await harness.publisher.publish("start", NOW)
    assert record is not None
    assert (record.serial, record.total) == (1, 0)
    assert harness.served() == {
        "ok": True,
        "data": [],
        "meta": {"total": 0, "etag": 'W/"0-2026-04-17T10:30:00.124Z"'},
        "request_id": "r1",
    }


async def test_nothing_new_is_no_publication(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-90001")
    assert await harness.publisher.publish("import", NOW) is not None
    assert await harness.publisher.publish("import", NOW + timedelta(hours=1)) is None
    assert len(await harness.storage.read(lambda db: store.newest_records(db, 10, None))) == 1


async def test_the_live_body_has_just_the_members_of_the_seed(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-90001")
    await harness.publisher.publish("import", NOW)
    assert harness.served()["data"] == [
        {
            "ruleId": "ATR-2026-90001",
            "ruleContent": rule_text("ATR-2026-90001"),
            "publishedAt": "2026-04-17T10:30:00.124Z",
            "source": "atr-community",
            "category": "tool-poisoning",
            "severity": "high",
            "mitreTechniques": "AML.T0051,AML.T0057",
            "tags": "key-request,mcp,high",
        }
    ]


async def test_every_representation_is_ascii_and_its_signatures_hold(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-90001", title="Schlüssel 鍵 🔑")
    await harness.publisher.publish("import", NOW)
    public = harness.keys.signer("rule").public
    for representation in ("yaml", "guard"):
        (rule,) = harness.served(representation)["data"]
        public.verify(base64.b64decode(rule["signature"]), rule["ruleContent"].encode())
    served = harness.publisher.served
    assert served is not None
    assert all(wanted.body.plain.isascii() for wanted in served.representations.values())
    guard = json.loads(harness.served("guard")["data"][0]["ruleContent"])
    assert guard["title"] == "Schlüssel 鍵 🔑"
    assert guard["agent_source"]["type"] == "mcp_exchange"
    assert not guard["detection"]["conditions"][0]["value"].startswith("(?i)")


async def test_instants_are_seconds_apart_however_fast_publications_follow(
    harness: PublicationHarness,
) -> None:
    tags, modified = set(), set()
    for number in range(4):
        await harness.hold(f"ATR-2026-9000{number}")
        await harness.publisher.publish("burst", NOW)
        served = harness.publisher.served
        assert served is not None
        tags.add(served.representation("live", canary=False).etag)
        modified.add(served.last_modified)
    assert len(tags) == len(modified) == 4


async def test_a_clock_that_was_set_back_never_repeats_a_tag(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-90001")
    first = await harness.publisher.publish("one", NOW)
    await harness.hold("ATR-2026-90002")
    second = await harness.publisher.publish("two", NOW - timedelta(days=30))
    assert first is not None
    assert second is not None
    assert first.published_at < second.published_at


async def test_an_unchanged_rule_keeps_its_instant_and_a_changed_one_gets_a_new(
    harness: PublicationHarness,
) -> None:
    await harness.hold("ATR-2026-90001")
    await harness.hold("ATR-2026-90002")
    await harness.publisher.publish("import", NOW)
    await harness.hold("ATR-2026-90002", title="Another title")
    await harness.publisher.publish("edit", NOW + timedelta(hours=1))
    instants = {rule["ruleId"]: rule["publishedAt"] for rule in harness.served()["data"]}
    assert instants == {
        "ATR-2026-90001": "2026-04-17T10:30:00.124Z",
        "ATR-2026-90002": "2026-04-17T11:30:00.124Z",
    }


async def test_what_left_the_set_is_listed_until_it_is_back(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-90001")
    await harness.hold("ATR-2026-90002")
    await harness.publisher.publish("import", NOW)
    await harness.drop("ATR-2026-90001")
    await harness.publisher.publish("withdraw", NOW + timedelta(hours=1))
    assert harness.ids("yaml") == ["ATR-2026-90002"]
    assert harness.served("yaml")["meta"]["withdrawn"] == ["ATR-2026-90001"]
    served = harness.publisher.served
    assert served is not None
    assert served.withdrawn_since(to_text(NOW + timedelta(hours=2))) == []
    await harness.hold("ATR-2026-90001")
    await harness.publisher.publish("again", NOW + timedelta(hours=3))
    assert harness.served("yaml")["meta"]["withdrawn"] == []


async def test_canary_rules_are_for_the_canary_ring_only(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-90001")
    await harness.hold("ATR-2026-90002", origin="community", state="canary")
    record = await harness.publisher.publish("cycle", NOW)
    assert record is not None
    assert (record.total, record.canary) == (2, 1)
    assert harness.ids("live", canary=True) == ["ATR-2026-90001"]
    assert harness.ids("guard") == ["ATR-2026-90001"]
    assert harness.ids("guard", canary=True) == ["ATR-2026-90001", "ATR-2026-90002"]


async def test_a_rule_that_no_guard_can_load_is_left_out_there_only(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-90001", pattern="(a+)+$")
    await harness.publisher.publish("import", NOW)
    assert harness.ids("yaml") == ["ATR-2026-90001"]
    assert harness.ids("guard") == []


async def test_since_cuts_the_same_bytes_that_the_whole_body_has(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-90001")
    await harness.publisher.publish("one", NOW)
    await harness.hold("ATR-2026-90002")
    await harness.publisher.publish("two", NOW + timedelta(hours=1))
    served = harness.publisher.served
    assert served is not None
    wanted = served.representation("yaml", canary=False)
    count, excerpt = wanted.excerpt(Selection(to_text(NOW + timedelta(minutes=30)), ()).keeps)
    assert count == 1
    assert json.loads(excerpt) == harness.served("yaml")["data"][1]
    assert Selection(to_text(NOW - timedelta(days=1)), ()).is_everything(wanted)
    assert not Selection("", (("severity", "low"),)).is_everything(wanted)


async def test_a_restart_serves_the_same_bytes(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-90001")
    await harness.hold("ATR-2026-90002", origin="community", state="canary")
    await harness.publisher.publish("import", NOW)
    before = harness.publisher.served
    await harness.restart()
    assert harness.publisher.served == before


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM publication_sheet",
        "UPDATE publication_sheet SET gzip = randomblob(length(gzip))",
        "UPDATE publication_sheet SET gzip = x''",
        "UPDATE publication_sheet SET gzip = substr(gzip, 1, length(gzip) - 100)",
        "UPDATE publication_sheet SET entries = x'00'",
    ],
)
async def test_a_restart_serves_the_same_bytes_when_the_stored_ones_are_damaged(
    harness: PublicationHarness, damage: str
) -> None:
    await harness.hold("ATR-2026-90001")
    await harness.hold("ATR-2026-90002", origin="community", state="canary")
    await harness.publisher.publish("import", NOW)
    before = harness.publisher.served
    await harness.storage.write(lambda db: db.execute(damage).rowcount)
    await harness.restart()
    assert harness.publisher.served == before


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
    harness: PublicationHarness,
) -> None:
    await harness.hold("ATR-2026-90001")
    await harness.publisher.publish("import", NOW)
    before = harness.publisher.served
    await harness.stop()
    with contextlib.closing(sqlite3.connect(harness.folder / "threatcloud.db")) as database:
        database.executescript(WITH_BOTH_FORMS)
    await harness.start()
    assert harness.publisher.served == before


async def test_the_manifest_is_signed_names_every_rule_and_its_predecessor(
    harness: PublicationHarness,
) -> None:
    await harness.hold("ATR-2026-90001")
    first = await harness.publisher.publish("one", NOW)
    await harness.hold("ATR-2026-90002")
    second = await harness.publisher.publish("two", NOW + timedelta(hours=1))
    assert first is not None
    assert second is not None
    signer = harness.keys.signer("manifest")
    assert jwt.get_unverified_header(second.manifest)["kid"] == signer.kid
    claims = jwt.decode(second.manifest, signer.public, algorithms=["EdDSA"])
    assert claims["serial"] == 2
    assert claims["previous"] == hashlib.sha256(first.manifest.encode()).hexdigest()
    texts = {
        i: hashlib.sha256(rule_text(i).encode()).hexdigest() for i in ("ATR-2026-90001", "ATR-2026-90002")
    }
    assert claims["rules"] == texts


async def test_a_rollback_serves_the_old_set_under_a_new_serial_and_holds(
    harness: PublicationHarness,
) -> None:
    await harness.hold("ATR-2026-90001")
    await harness.publisher.publish("good", NOW)
    await harness.hold("ATR-2026-90002")
    await harness.publisher.publish("bad", NOW + timedelta(hours=1))
    later = NOW + timedelta(hours=2)
    record = await harness.publisher.roll_back(1, "bad rule", later, lambda _db: None)
    assert (record.serial, record.restores) == (3, 1)
    assert harness.ids() == ["ATR-2026-90001"]
    assert harness.served("yaml")["meta"]["withdrawn"] == ["ATR-2026-90002"]
    await harness.hold("ATR-2026-90003")
    assert await harness.publisher.publish("held back", later) is None
    released = await harness.publisher.resume(later, lambda _db: None)
    assert released is not None
    assert harness.ids() == ["ATR-2026-90001", "ATR-2026-90002", "ATR-2026-90003"]
    with pytest.raises(NotFrozen):
        await harness.publisher.resume(later, lambda _db: None)


async def test_a_rollback_never_brings_back_what_was_quarantined(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-90001")
    await harness.hold("ATR-2026-90002", origin="community")
    await harness.publisher.publish("both", NOW)
    await harness.drop("ATR-2026-90002", "community", "quarantined")
    await harness.publisher.publish("quarantine", NOW + timedelta(hours=1))
    await harness.publisher.roll_back(1, "test", NOW + timedelta(hours=2), lambda _db: None)
    assert harness.ids() == ["ATR-2026-90001"]


async def test_a_rollback_never_serves_a_community_rule_under_an_id_that_it_gave_up(
    harness: PublicationHarness,
) -> None:
    await harness.hold("ATR-2026-90001")
    await harness.hold("ATR-2026-90002", origin="community")
    await harness.publisher.publish("both", NOW)
    await harness.publisher.roll_back(1, "test", NOW + timedelta(hours=1), lambda _db: None)
    await harness.storage.write(lambda db: yield_id(db, "ATR-2026-90002", to_text(NOW)))
    await harness.publisher.publish("renamed", NOW + timedelta(hours=2))
    assert harness.ids() == ["ATR-2026-90001"]


async def test_provenance_is_served_as_upstream_said_and_a_rollback_serves_it_again(
    harness: PublicationHarness,
) -> None:
    await harness.hold("ATR-2026-00001", "upstream:chain", source="atr")
    await harness.hold("ATR-2026-00002", "upstream:chain", source="atr-community")
    await harness.hold("ATR-2026-00003", "upstream:old")  # held since before upstreams said
    first = await harness.publisher.publish("pull", NOW)
    assert first is not None
    said = {rule["ruleId"]: rule["source"] for rule in harness.served()["data"]}
    assert said == {
        "ATR-2026-00001": "atr",
        "ATR-2026-00002": "atr-community",
        "ATR-2026-00003": "atr",
    }
    await harness.hold("ATR-2026-00001", "upstream:chain", source="atr-community")
    changed = await harness.publisher.publish("pull", NOW + timedelta(hours=1))
    assert changed is not None
    again = await harness.publisher.roll_back(1, "test", NOW + timedelta(hours=2), lambda _db: None)
    assert again.digest == first.digest != changed.digest
    assert {rule["ruleId"]: rule["source"] for rule in harness.served()["data"]} == said


async def test_publications_from_before_provenance_was_kept_still_work(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-00001", "upstream:atr")
    await harness.hold("ATR-2026-90001")
    first = await harness.publisher.publish("pull", NOW)
    await harness.storage.write(lambda db: db.execute("UPDATE publication_rule SET source = NULL") and None)
    assert await harness.publisher.publish("again", NOW + timedelta(hours=1)) is None
    rolled = await harness.publisher.roll_back(1, "test", NOW + timedelta(hours=2), lambda _db: None)
    assert first is not None
    assert rolled.digest == first.digest


async def test_the_upstream_with_the_higher_priority_is_served(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-00001", "upstream:a", title="From a")
    await harness.hold("ATR-2026-00001", "upstream:b", title="From b")
    for name, priority in (("a", 100), ("b", 101)):
        await harness.storage.write(
            lambda db, row=(name, priority): (  # type: ignore[misc]
                db.execute("INSERT INTO upstream (name, priority) VALUES (?, ?)", list(row)) and None
            )
        )
    await harness.publisher.publish("pull", NOW)
    (rule,) = harness.served()["data"]
    assert "From b" in rule["ruleContent"]


async def test_a_filter_keeps_a_rule_out_until_an_overlay_brings_it_back(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-00001", "upstream:a")
    await harness.hold("ATR-2026-00002", "upstream:a")
    await harness.storage.write(
        lambda db: (
            db.execute("UPDATE rule SET excluded = 'severity' WHERE rule_id = 'ATR-2026-00002'") and None
        )
    )
    await harness.publisher.publish("pull", NOW)
    assert harness.ids() == ["ATR-2026-00001"]
    await harness.overlay("ATR-2026-00002", "enable")
    await harness.publisher.publish("overlay", NOW + timedelta(hours=1))
    assert harness.ids() == ["ATR-2026-00001", "ATR-2026-00002"]


async def test_what_an_overlay_disables_stays_out_of_a_rollback_also_when_upstream_dropped_it(
    harness: PublicationHarness,
) -> None:
    for number in (1, 2, 3):
        await harness.hold(f"ATR-2026-0000{number}", "upstream:a")
    await harness.publisher.publish("pull", NOW)
    await harness.publisher.roll_back(1, "test", NOW + timedelta(hours=1), lambda _db: None)
    await harness.overlay("ATR-2026-00001", "disable")
    assert await harness.publisher.publish("overlay", NOW + timedelta(hours=2)) is not None
    assert harness.ids() == ["ATR-2026-00002", "ATR-2026-00003"]
    await harness.drop("ATR-2026-00002", "upstream:a")
    await harness.overlay("ATR-2026-00002", "disable")
    await harness.publisher.publish("overlay", NOW + timedelta(hours=3))
    assert harness.ids() == ["ATR-2026-00003"]


async def test_quarantine_takes_effect_during_a_rollback(harness: PublicationHarness) -> None:
    await harness.hold("ATR-2026-90001")
    await harness.hold("ATR-2026-90002", origin="community")
    await harness.publisher.publish("both", NOW)
    await harness.publisher.roll_back(1, "test", NOW + timedelta(hours=1), lambda _db: None)
    await harness.drop("ATR-2026-90002", "community", "quarantined")
    assert await harness.publisher.publish("quarantine", NOW + timedelta(hours=2)) is not None
    assert harness.ids() == ["ATR-2026-90001"]


async def test_an_unknown_serial_is_refused_and_holds_nothing(harness: PublicationHarness) -> None:
    await harness.publisher.publish("start", NOW)
    with pytest.raises(NoSuchPublication):
        await harness.publisher.roll_back(99, "typo", NOW, lambda _db: None)
    assert await harness.storage.read(store.freeze) is None


async def test_only_so_many_publications_are_kept_but_the_held_one_always(tmp_path: Path) -> None:
    harness = PublicationHarness(tmp_path, keep=3)
    for number in range(6):
        await harness.hold(f"ATR-2026-9000{number}")
        await harness.publisher.publish(f"number {number}", NOW + timedelta(hours=number))
    kept = await harness.storage.read(lambda db: [r.serial for r in store.newest_records(db, 99, None)])
    assert kept == [6, 5, 4]
    await harness.publisher.roll_back(4, "test", NOW + timedelta(days=1), lambda _db: None)
    for number in range(4):
        await harness.publisher.publish("again", NOW + timedelta(days=2, hours=number), again=True)
    kept = await harness.storage.read(lambda db: [r.serial for r in store.newest_records(db, 99, None)])
    assert kept == [11, 10, 9, 4]
    await harness.stop()


async def test_publications_at_once_follow_each_other(harness: PublicationHarness) -> None:
    async def import_one(number: int) -> None:
        await harness.hold(f"ATR-2026-9000{number}")
        await harness.publisher.publish(f"import {number}", NOW + timedelta(minutes=number))

    await asyncio.gather(*(import_one(number) for number in range(8)))
    records = await harness.storage.read(lambda db: store.newest_records(db, 99, None))
    serials = [record.serial for record in records]
    instants = [from_text(record.published_at) for record in records]
    assert serials == sorted(serials, reverse=True)
    assert instants == sorted(instants, reverse=True)
    assert len(harness.ids()) == 8
