"""What is stored of an address before it is listed, and after."""

from sqlite_utils import Database

from app.access.key_store import revoke_key
from app.consensus.policy import ConsensusPolicy
from app.http.timestamps import to_text
from app.intel.indicators.feeds import FeedQuery, render_feed
from app.intel.indicators.store import (
    all_indicators,
    delete_indicator,
    digest_of,
    record_sightings,
    recount_indicator,
)
from app.intel.reporter import Reporter
from app.privacy.anonymisation import Pseudonyms
from tests.clock import NOW
from tests.database import enrol, fresh

NAMES = Pseudonyms(b"s" * 32)
POLICY = ConsensusPolicy()
EVIL = "45.83.64.7"


def reporter(subject: str | None, address: str = "10.0.0.1") -> Reporter:
    return Reporter(subject, f"key-{subject}", address, None)


def note(db: Database, who: Reporter, address: str = EVIL, category: str = "c2") -> bool:
    return record_sightings(
        db, [(address, category)], who, "2026-04-17T10:00:00.000Z", to_text(NOW), POLICY, NAMES
    ).changed


def crowd(db: Database, number: int) -> list[Reporter]:
    for n in range(number):
        enrol(db, f"key-agent-{n}", subject=f"agent-{n}")
    return [reporter(f"agent-{n}") for n in range(number)]


def whole_database(db: Database) -> str:
    return "\n".join(db.conn.iterdump())


def test_an_address_is_stored_in_clear_with_the_third_identity_and_no_earlier() -> None:
    db = fresh()
    first, second, third, fourth = crowd(db, 4)
    for who in (first, second, first, second, first):
        assert not note(db, who)
        assert EVIL not in whole_database(db)
    assert note(db, third)
    (listed,) = all_indicators(db)
    assert (listed.value, listed.reputation, listed.reporters, listed.category) == (EVIL, 70, 3, "c2")
    assert note(db, fourth)
    assert [entry.reputation for entry in all_indicators(db)] == [80]
    assert not note(db, fourth)


def test_it_is_deleted_again_when_a_reporter_loses_its_key() -> None:
    db = fresh()
    for who in crowd(db, 3):
        note(db, who)
    assert EVIL in whole_database(db)
    revoke_key(db, "key-agent-1", NOW)
    assert recount_indicator(db, "ip", digest_of("ip", EVIL, NAMES), None, to_text(NOW), POLICY)
    assert EVIL not in whole_database(db)
    enrol(db, "key-agent-9", subject="agent-9")
    assert note(db, reporter("agent-9"))
    assert EVIL in whole_database(db)


def test_nobody_without_a_key_and_no_crowd_behind_one_address_lists_anything() -> None:
    db = fresh()
    for n in range(30):
        enrol(db, f"key-self:{n}", subject=f"self:{n}", enrolled="self", address="10.0.0.7")
        note(db, reporter(f"self:{n}", "10.0.0.7"))
        note(db, reporter(None))
        note(db, reporter("never-enrolled"))
    assert all_indicators(db) == []
    assert EVIL not in whole_database(db)


def test_deleting_a_value_forgets_who_reported_it() -> None:
    db = fresh()
    agents = crowd(db, 5)
    for who in agents[:3]:
        note(db, who)
    assert delete_indicator(db, "ip", EVIL, digest_of("ip", EVIL, NAMES)) == (1, 3)
    assert not note(db, agents[3])
    assert all_indicators(db) == []


def test_a_feed_has_comments_and_sorted_values() -> None:
    db = fresh()
    for address in ("9.9.9.9", "101.1.1.1", "2a00:1450:4001:82a::200e"):
        for who in crowd_once(db):
            note(db, who, address)
    text = render_feed(all_indicators(db), FeedQuery("ip")).decode()
    lines = text.splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "9.9.9.9",
        "101.1.1.1",
        "2a00:1450:4001:82a::200e",
    ]
    assert text.startswith("# ")
    assert text.endswith("\n")
    assert "\n9" not in render_feed(all_indicators(db), FeedQuery("ip", 71)).decode()
    assert "\n9" not in render_feed(all_indicators(db), FeedQuery("ip", 70, "other")).decode()
    assert "\n9" in render_feed(all_indicators(db), FeedQuery("ip", 70, "c2")).decode()
    assert "9.9.9.9" not in render_feed(all_indicators(db), FeedQuery("domain", 0)).decode()


def crowd_once(db: Database) -> list[Reporter]:
    if db.conn.execute("SELECT count(*) FROM key").fetchone()[0]:
        return [reporter(f"agent-{n}") for n in range(3)]
    return crowd(db, 3)
