"""The decision core: policies, guards, refusals, as examples and for any input."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.federation.decide import Change, Limits, PendingReason, PullDecision, TextRef, decide, reconcile
from app.federation.upstream import Policy

OPEN = Limits("mirror", 100, 100)


def texts(ids: str, digest: str = "1") -> dict[str, TextRef]:
    """One rule for each letter."""
    return {rule_id: TextRef(digest, "atr") for rule_id in ids}


def terms(policy: Policy = "mirror", withdrawn: int = 10, changed: int = 30) -> Limits:
    return Limits(policy, withdrawn, changed)


def after(in_service: Mapping[str, TextRef], decision: PullDecision) -> dict[str, TextRef]:
    """What is in service once the decision is applied."""
    result = {**in_service, **{c.rule_id: c.text for c in decision.apply if c.text is not None}}
    gone = {change.rule_id for change in decision.apply if change.text is None}
    return {rule_id: text for rule_id, text in result.items() if rule_id not in gone}


TEN, MANY = texts("abcdefghij"), texts("abcdefghijklmnopqrst")


@pytest.mark.parametrize(
    ("in_service", "offered", "policy", "reasons"),
    [
        ({}, TEN, "mirror", ()),
        ({}, TEN, "additive", ()),
        ({}, TEN, "review", ("review",)),
        ({}, {}, "mirror", ()),
        (TEN, TEN, "review", ()),
        (TEN, texts("abcdefghi"), "mirror", ()),
        (TEN, texts("abcdefgh"), "mirror", ("shrink",)),
        (TEN, texts("abcdefgh"), "additive", ()),
        (TEN, texts("abcdefgh"), "review", ("review", "shrink")),
        (TEN, {}, "mirror", ("empty", "shrink")),
        (TEN, {}, "additive", ()),
        (TEN, TEN | texts("abc", "2"), "mirror", ()),
        (TEN, TEN | texts("abcd", "2"), "mirror", ("churn",)),
        (TEN, TEN | texts("abcd", "2"), "additive", ("churn",)),
        (MANY, texts("abcdefghijk", "2"), "mirror", ("shrink", "churn")),
        (TEN, MANY, "mirror", ()),
    ],
)
def test_what_is_held_and_why(
    in_service: dict[str, TextRef],
    offered: dict[str, TextRef],
    policy: Policy,
    reasons: tuple[PendingReason, ...],
) -> None:
    decision = decide(in_service, offered, (), terms(policy), {}, {})
    assert decision.reasons == reasons
    assert not (decision.apply and decision.held)
    assert bool(decision.held) == bool(reasons)


def test_a_guard_holds_the_harmless_changes_too() -> None:
    decision = decide(TEN, texts("abcdefghz"), (), terms(), {}, {})
    assert [(c.rule_id, c.kind) for c in decision.held] == [
        ("z", "added"),
        ("i", "withdrawn"),
        ("j", "withdrawn"),
    ]


def test_additive_never_withdraws_and_still_adds_and_changes() -> None:
    decision = decide(TEN, texts("z") | texts("a", "2"), (), terms("additive"), {}, {})
    assert [(c.rule_id, c.kind) for c in decision.apply] == [("z", "added"), ("a", "changed")]


def test_what_was_set_aside_keeps_its_last_good_text() -> None:
    decision = decide(TEN, texts("abcde"), [*"fghij", "never seen"], terms(), {}, {})
    assert decision == PullDecision()


def test_everything_set_aside_is_no_empty_set() -> None:
    assert decide(TEN, {}, tuple("abcdefghij"), terms(), {}, {}) == PullDecision()


def test_another_provenance_is_a_change() -> None:
    decision = decide(TEN, TEN | {"a": TextRef("1", "atr-community")}, (), terms(), {}, {})
    assert decision.apply == (Change("a", "changed", TextRef("1", "atr-community")),)


def test_a_refused_change_is_neither_applied_nor_held_nor_counted() -> None:
    offered = texts("abcdefgh") | texts("z")
    refused: dict[str, tuple[str, str | None]] = {"i": ("withdrawn", None), "z": ("added", "1")}
    decision = decide(TEN, offered, (), terms(), refused, {})  # type: ignore[arg-type]
    assert decision.apply == (Change("j", "withdrawn", None),)
    assert decide(TEN, offered, (), terms("review"), refused, {}).held == decision.apply  # type: ignore[arg-type]


def test_what_a_guard_stopped_waits_even_when_it_is_little_by_now() -> None:
    decision = decide(TEN, texts("abcdefghiz"), (), terms(), {}, {"j": ("withdrawn", None)})
    assert decision.apply == (Change("z", "added", TextRef("1", "atr")),)
    assert decision.held == (Change("j", "withdrawn", None),)
    assert decision.reasons == ()


def test_what_a_guard_stopped_and_upstream_takes_back_is_forgotten() -> None:
    assert decide(TEN, TEN, (), terms(), {}, {"j": ("withdrawn", None)}) == PullDecision()


def test_a_refusal_is_of_one_text() -> None:
    decision = decide(TEN, TEN | texts("a", "3"), (), terms(), {"a": ("changed", "2")}, {})
    assert decision.apply == (Change("a", "changed", TextRef("3", "atr")),)


rules = st.dictionaries(
    st.sampled_from("abcdefghijkl"),
    st.builds(TextRef, st.sampled_from("12"), st.sampled_from(["atr", "atr-community"])),
)
policies = st.sampled_from(["mirror", "additive", "review"])
percents = st.integers(0, 100)


@given(rules, rules)
def test_reconciling_leads_from_what_is_held_to_what_is_offered(
    held: dict[str, TextRef], offered: dict[str, TextRef]
) -> None:
    changes = reconcile(held, offered)
    result = {rule_id: text for rule_id, text in held.items() if rule_id not in changes.withdrawn}
    result |= {rule_id: offered[rule_id] for rule_id in (*changes.added, *changes.changed)}
    assert result == offered
    assert bool(changes) == (held != offered)


@given(rules, rules, st.sets(st.sampled_from("abcdefghijkl")), policies, percents, percents)
def test_no_guard_lets_more_through_than_its_percentage(
    in_service: dict[str, TextRef],
    offered: dict[str, TextRef],
    kept: set[str],
    policy: Policy,
    less: int,
    other: int,
) -> None:
    decision = decide(in_service, offered, kept, Limits(policy, less, other), {}, {})
    withdrawn = sum(change.kind == "withdrawn" for change in decision.apply)
    changed = sum(change.kind == "changed" for change in decision.apply)
    if in_service:
        assert withdrawn * 100 <= less * len(in_service)
        assert changed * 100 <= other * len(in_service)
    assert not (withdrawn and policy == "additive")
    assert not (decision.apply and policy == "review")
    assert {change.rule_id for change in decision.apply if change.kind == "withdrawn"}.isdisjoint(kept)


@given(rules, rules)
def test_an_open_mirror_becomes_what_is_offered(
    in_service: dict[str, TextRef], offered: dict[str, TextRef]
) -> None:
    decision = decide(in_service, offered, (), OPEN, {}, {})
    if offered or not in_service:
        assert after(in_service, decision) == offered
    else:
        assert decision.reasons == ("empty",)


@given(rules, rules, rules, policies)
def test_deciding_again_on_what_was_applied_changes_nothing(
    in_service: dict[str, TextRef], offered: dict[str, TextRef], last_good: dict[str, TextRef], policy: Policy
) -> None:
    first = decide(in_service, offered, last_good, Limits(policy, 100, 100), {}, {})
    if first.apply:
        assert (
            decide(after(in_service, first), offered, last_good, Limits(policy, 100, 100), {}, {})
            == PullDecision()
        )
