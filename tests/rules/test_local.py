"""Which of the rules that tools push are held: never upstream's, never what an admin withdrew."""

from sqlite_utils import Database

from app.rules.inspect import inspect_text
from app.rules.local import Inspected, RuleFile, store_possible, withdraw_local
from app.rules.store import COMMUNITY, LOCAL, rules_with_id
from app.rules.validate import Profile
from tests.database import fresh, put_rule
from tests.example_rules import rule_text

AT = "2026-04-17T00:00:00.000Z"


def looked_at(rule_id: str, **different: str) -> Inspected:
    text = rule_text(rule_id, **different)
    return RuleFile(rule_id, text), inspect_text(text, profile=Profile.PUBLISHED)


def held_by(db: Database, origin: str, rule_id: str, pattern_hash: str | None = None) -> None:
    text = rule_text(rule_id, title="held before")
    put_rule(db, rule_id, text, origin=origin, at=AT, pattern_hash=pattern_hash)


def test_each_rule_is_held_or_skipped_with_its_reason() -> None:
    db = fresh()
    held_by(db, "upstream:atr", "ATR-2026-00001")
    store_possible(db, [looked_at("ATR-2026-90002")], AT)
    assert withdraw_local(db, "ATR-2026-90002", "false positives", AT)
    pushed = [looked_at(f"ATR-2026-{number}") for number in ("00001", "90002", "90003")]
    imported, mistakes = store_possible(db, pushed, AT)
    assert [(rule.rule_id, rule.change) for rule in imported] == [("ATR-2026-90003", "added")]
    assert [mistake.name for mistake in mistakes] == ["ATR-2026-00001", "ATR-2026-90002"]
    assert "upstream:atr already has" in mistakes[0].message
    assert "withdrawn here" in mistakes[1].message
    assert [rule.state for rule in rules_with_id(db, "ATR-2026-90002")] == ["withdrawn"]
    assert [rule.origin for rule in rules_with_id(db, "ATR-2026-00001")] == ["upstream:atr"]


def test_a_rule_that_changed_is_held_anew_and_one_that_did_not_is_left() -> None:
    db = fresh()
    store_possible(db, [looked_at("ATR-2026-90003")], AT)
    assert [rule.change for rule in store_possible(db, [looked_at("ATR-2026-90003")], AT)[0]] == ["unchanged"]
    changed = looked_at("ATR-2026-90003", title="another title")
    assert [rule.change for rule in store_possible(db, [changed], AT)[0]] == ["changed"]


def test_a_community_rule_gives_its_id_up() -> None:
    db = fresh()
    held_by(db, COMMUNITY, "ATR-2026-90004", pattern_hash="5f2c9a417be03d68")
    imported, mistakes = store_possible(db, [looked_at("ATR-2026-90004")], AT)
    assert (len(imported), mistakes) == (1, [])
    assert [rule.origin for rule in rules_with_id(db, "ATR-2026-90004")] == [LOCAL]
