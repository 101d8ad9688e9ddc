"""Which origin holds which rule."""

import pytest
from sqlite_utils import Database

from app.rules.store import (
    COMMUNITY,
    RuleState,
    StoredRule,
    free_id,
    rule_of_pattern,
    rules_with_id,
    store_rule,
    withdraw,
    yield_id,
)
from tests.clock import NOW_TEXT
from tests.consensus.harness import hold_foreign, in_service, local_id
from tests.database import fresh, put_rule, put_rule_text
from tests.example_rules import short_rule_text

AT, LATER = "2026-04-17T00:00:00.000Z", "2026-04-18T00:00:00.000Z"


@pytest.fixture
def db() -> Database:
    return fresh()


def community(
    db: Database, pattern_hash: str, rule_id: str = "ATR-2026-90001", state: RuleState = "active"
) -> None:
    put_rule(
        db,
        rule_id,
        short_rule_text(rule_id),
        origin=COMMUNITY,
        state=state,
        at=AT,
        pattern_hash=pattern_hash,
    )


def ids(rules: list[StoredRule]) -> list[tuple[str, str]]:
    return [(held.rule_id, held.origin) for held in rules]


def test_a_text_is_kept_once_with_what_it_says(db: Database) -> None:
    assert put_rule_text(db, short_rule_text()) == put_rule_text(db, short_rule_text())
    row = db.conn.execute(
        "SELECT title, category, severity, tags, guard_text IS NOT NULL FROM rule_text"
    ).fetchall()
    assert row == [("Asks for the signing key", "tool-poisoning", "high", "mcp", 1)]


def test_a_text_without_its_facts_cannot_be_held(db: Database) -> None:
    with pytest.raises(ValueError, match="title"):
        put_rule_text(db, "a: b")


def test_an_origin_replaces_its_own_rule_only(db: Database) -> None:
    hold_foreign(db, "ATR-2026-00001", "upstream:a")
    hold_foreign(db, "ATR-2026-00001", "upstream:b")
    newer = put_rule_text(db, short_rule_text("ATR-2026-00001", title="Newer"))
    store_rule(db, origin="upstream:b", rule_id="ATR-2026-00001", digest=newer, state="active", at=LATER)
    a, b = rules_with_id(db, "ATR-2026-00001")
    assert (a.origin, a.digest == newer, a.changed_at) == ("upstream:a", False, NOW_TEXT)
    assert (b.digest, b.changed_at, b.first_seen) == (newer, LATER, NOW_TEXT)


def test_a_community_rule_is_known_by_its_proposal_and_may_change_its_id(db: Database) -> None:
    community(db, "hash-1")
    community(db, "hash-1", "ATR-2026-90002")
    assert ids(in_service(db)) == [("ATR-2026-90002", COMMUNITY)]


def test_one_community_rule_cannot_replace_another(db: Database) -> None:
    community(db, "hash-1")
    with pytest.raises(Exception, match="UNIQUE"):
        community(db, "hash-2")


def test_a_withdrawn_rule_is_out_of_service_but_keeps_its_id(db: Database) -> None:
    hold_foreign(db, "ATR-2026-00001")
    assert withdraw(db, origin="upstream:atr", rule_id="ATR-2026-00001", reason="gone", at=LATER)
    assert not withdraw(db, origin="local", rule_id="ATR-2026-00001", reason="gone", at=LATER)
    assert in_service(db) == []
    assert free_id(db, "ATR-2026-00001", "hash-1") == local_id("hash-1")


def test_local_ids_go_on_until_one_is_free(db: Database) -> None:
    for taken in ("ATR-2026-90001", local_id("hash-1"), local_id("hash-1#1")):
        hold_foreign(db, taken)
    assert free_id(db, "ATR-2026-90001", "hash-1") == local_id("hash-1#2")
    community(db, "hash-1", local_id("hash-1#2"))
    assert free_id(db, local_id("hash-1#2"), "hash-1") == local_id("hash-1#2")


@pytest.mark.parametrize("state", ["active", "canary"])
def test_a_community_rule_gives_its_id_up_in_row_and_text(db: Database, state: RuleState) -> None:
    community(db, "hash-1", state=state)
    new_id = yield_id(db, "ATR-2026-90001", LATER)
    hold_foreign(db, "ATR-2026-90001")
    assert new_id == local_id("hash-1")
    assert ids(in_service(db)) == [("ATR-2026-90001", "upstream:atr"), (new_id, COMMUNITY)]
    held = rule_of_pattern(db, "hash-1")
    assert held is not None
    text = db.conn.execute("SELECT text FROM rule_text WHERE digest = ?", [held.digest]).fetchone()[0]
    assert text == short_rule_text(new_id)


def test_only_a_community_rule_in_service_gives_way(db: Database) -> None:
    assert yield_id(db, "ATR-2026-90001", LATER) is None
    hold_foreign(db, "ATR-2026-90001", "local")
    assert yield_id(db, "ATR-2026-90001", LATER) is None
    community(db, "hash-1", "ATR-2026-90002")
    withdraw(db, origin=COMMUNITY, rule_id="ATR-2026-90002", reason="x", at=LATER)
    assert yield_id(db, "ATR-2026-90002", LATER) is None
