"""What overlay entries make of a rule: pure decisions, with properties."""

from datetime import timedelta
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from app.http.timestamps import to_text
from app.overlay.resolve import (
    PARTNERS,
    OverlayAction,
    OverlayEffect,
    OverlayEntry,
    UpstreamRule,
    base_moved,
    contradicts,
    resolve,
    state_of,
)
from tests.clock import NOW, NOW_TEXT

LATER = to_text(NOW + timedelta(milliseconds=1))
UPSTREAM, OLD, OURS = "upstream", "old", "ours"
SEVERITIES = {UPSTREAM: "high", OLD: "medium", OURS: "high"}
LEVELS = ("critical", "high", "medium")


def entry(action: OverlayAction, **different: str | None) -> OverlayEntry:
    """An entry on the one rule of these tests; each action has an id of its own."""
    values: dict[str, str | None] = {
        "id": action,
        "rule_id": "ATR-2026-00001",
        "action": action,
        "severity": "low" if action == "severity" else None,
        "digest": {"pin": OLD, "replace": OURS}.get(action),
        "base": UPSTREAM,
        "owner": "soc",
        "reason": "test",
        "created_at": "2026-11-01T00:00:00.000Z",
        "expires_at": None,
        "declared": "api",
    }
    return OverlayEntry(**(values | different))  # type: ignore[arg-type]


@st.composite
def overlays(draw: st.DrawFn) -> list[OverlayEntry]:
    """Entries that can stand together: at most one of an action, and no two that contradict each other."""
    found: list[OverlayEntry] = []
    for action in draw(st.lists(st.sampled_from(get_args(OverlayAction)), unique=True)):
        expires = draw(st.sampled_from([None, NOW_TEXT, LATER]))
        level = draw(st.sampled_from(LEVELS)) if action == "severity" else None
        digest = draw(st.sampled_from([None, UPSTREAM, OLD, OURS])) if action in {"pin", "replace"} else None
        if contradicts(action, found, NOW_TEXT) is None:
            found.append(entry(action, expires_at=expires, severity=level, digest=digest))
    return found


held_rules = st.builds(UpstreamRule, st.sampled_from([UPSTREAM, OLD]), st.booleans())


@given(overlays(), held_rules)
def test_a_rule_is_served_unless_it_is_disabled_or_filtered_out(
    entries: list[OverlayEntry], held: UpstreamRule
) -> None:
    active = {e.action for e in entries if e.expires_at != NOW_TEXT}
    served = "disable" not in active and ("enable" in active or not held.is_excluded)
    assert resolve(entries, held, SEVERITIES, NOW_TEXT).served == served


@given(overlays(), held_rules)
def test_the_text_is_the_replacement_or_the_pin_or_upstreams(
    entries: list[OverlayEntry], held: UpstreamRule
) -> None:
    effect = resolve(entries, held, SEVERITIES, NOW_TEXT)
    by_action = {e.action: e for e in entries if e.is_in_force(NOW_TEXT)}
    text = by_action.get("replace") or by_action.get("pin")
    if effect.served and text is not None:
        assert effect.digest == text.digest
    else:
        assert effect.digest == held.digest


@given(overlays(), held_rules)
def test_a_severity_is_put_in_only_where_the_text_says_another(
    entries: list[OverlayEntry], held: UpstreamRule
) -> None:
    effect = resolve(entries, held, SEVERITIES, NOW_TEXT)
    wanted = {e.severity for e in entries if e.action == "severity" and e.is_in_force(NOW_TEXT)}
    if effect.severity is not None:
        assert effect.served
        assert {effect.severity} == wanted
        assert SEVERITIES[effect.digest] != effect.severity
    elif effect.served and wanted:
        assert {SEVERITIES[effect.digest]} == wanted


@given(overlays(), held_rules)
def test_the_order_of_entries_does_not_matter(entries: list[OverlayEntry], held: UpstreamRule) -> None:
    assert resolve(entries, held, SEVERITIES, NOW_TEXT) == resolve(entries[::-1], held, SEVERITIES, NOW_TEXT)


@given(overlays(), held_rules)
def test_entries_that_are_not_active_can_be_taken_away(
    entries: list[OverlayEntry], held: UpstreamRule
) -> None:
    """Each by itself: two that say the same may hide each other."""
    for one in entries:
        state = state_of(one, entries, [held], SEVERITIES, NOW_TEXT)
        without = [other for other in entries if other is not one]
        same = resolve(entries, held, SEVERITIES, NOW_TEXT) == resolve(without, held, SEVERITIES, NOW_TEXT)
        assert state in {"active", "expired", "idle", "unusable"}
        if state != "active":
            assert same
        elif one.action != "pin":
            assert not same


def test_without_entries_a_rule_is_served_as_upstream_has_it() -> None:
    assert resolve([], UpstreamRule(UPSTREAM), SEVERITIES, NOW_TEXT) == OverlayEffect(True, UPSTREAM)
    assert resolve([], UpstreamRule(UPSTREAM, is_excluded=True), SEVERITIES, NOW_TEXT) == OverlayEffect(
        False, UPSTREAM
    )


def test_an_entry_ends_at_its_instant() -> None:
    ended, last = entry("disable", expires_at=NOW_TEXT), entry("disable", expires_at=LATER)
    assert resolve([ended], UpstreamRule(UPSTREAM), SEVERITIES, NOW_TEXT).served
    assert not resolve([last], UpstreamRule(UPSTREAM), SEVERITIES, NOW_TEXT).served
    assert state_of(ended, [ended], [UpstreamRule(UPSTREAM)], SEVERITIES, NOW_TEXT) == "expired"
    assert state_of(last, [last], [UpstreamRule(UPSTREAM)], SEVERITIES, NOW_TEXT) == "active"


def test_a_severity_goes_into_the_pinned_or_replaced_text() -> None:
    level = entry("severity")
    assert resolve([level, entry("pin")], UpstreamRule(UPSTREAM), SEVERITIES, NOW_TEXT) == OverlayEffect(
        True, OLD, "low"
    )
    assert resolve([level, entry("replace")], UpstreamRule(UPSTREAM), SEVERITIES, NOW_TEXT) == OverlayEffect(
        True, OURS, "low"
    )


def test_a_pin_is_active_while_upstream_still_says_the_same_and_its_rule_is_served() -> None:
    pin = entry("pin", digest=UPSTREAM)
    assert state_of(pin, [pin], [UpstreamRule(UPSTREAM)], SEVERITIES, NOW_TEXT) == "active"
    assert state_of(pin, [pin], [], SEVERITIES, NOW_TEXT) == "idle"
    both = [pin, entry("disable")]
    assert state_of(pin, both, [UpstreamRule(UPSTREAM)], SEVERITIES, NOW_TEXT) == "idle"


def test_what_upstream_does_by_itself_makes_an_entry_idle() -> None:
    enable, level = entry("enable"), entry("severity", severity="high")
    assert state_of(enable, [enable], [UpstreamRule(UPSTREAM)], SEVERITIES, NOW_TEXT) == "idle"
    assert (
        state_of(enable, [enable], [UpstreamRule(UPSTREAM, is_excluded=True)], SEVERITIES, NOW_TEXT)
        == "active"
    )
    assert state_of(level, [level], [UpstreamRule(UPSTREAM)], SEVERITIES, NOW_TEXT) == "idle"
    replace = entry("replace")
    assert state_of(replace, [replace], [UpstreamRule(OURS)], SEVERITIES, NOW_TEXT) == "idle"


def test_an_entry_is_active_when_it_counts_for_one_upstream() -> None:
    enable = entry("enable")
    held = [UpstreamRule(UPSTREAM), UpstreamRule(OLD, is_excluded=True)]
    assert state_of(enable, [enable], held, SEVERITIES, NOW_TEXT) == "active"


def test_without_a_text_there_is_nothing_to_serve() -> None:
    replace, pin = entry("replace", digest=None), entry("pin", digest=None)
    assert resolve([replace], UpstreamRule(UPSTREAM), SEVERITIES, NOW_TEXT) == OverlayEffect(True, UPSTREAM)
    assert state_of(replace, [replace], [], SEVERITIES, NOW_TEXT) == "unusable"
    assert state_of(pin, [pin], [UpstreamRule(UPSTREAM)], SEVERITIES, NOW_TEXT) == "unusable"
    assert state_of(pin, [pin], [], SEVERITIES, NOW_TEXT) == "idle", "its text may come with the rule"


def test_a_base_that_upstream_has_changed_is_reported() -> None:
    assert base_moved(entry("disable", base=OLD), [UpstreamRule(UPSTREAM), UpstreamRule(OLD)])
    assert not base_moved(entry("disable", base=OLD), [UpstreamRule(OLD), UpstreamRule(UPSTREAM)])
    assert not base_moved(entry("disable", base=OLD), [])
    assert not base_moved(entry("disable", base=None), [UpstreamRule(UPSTREAM)])


def test_only_opposites_contradict_each_other() -> None:
    for one in get_args(OverlayAction):
        for other in get_args(OverlayAction):
            clash = contradicts(one, [entry(other)], NOW_TEXT)
            assert (clash is not None) == (PARTNERS.get(one) == other)
    assert contradicts("enable", [entry("disable", expires_at=NOW_TEXT)], NOW_TEXT) is None
