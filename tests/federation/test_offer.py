"""Which text each id gets, and for which id a broken text was meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.federation.decide import TextRef
from app.federation.offer import MAX_REASON, AcceptedItem, RejectedItem, meant_id, resolve_offer, stated_id
from app.federation.sources.collected import Item, SetAside

ID = "ATR-2026-00001"
LONGER = "ATR-2026-00001-b"


def fit(rule_id: str, name: str, digest: str, published_at: str = "") -> AcceptedItem:
    return AcceptedItem(rule_id, Item(name, 0, 1, digest, "atr", published_at))


def winner(*candidates: AcceptedItem) -> str:
    return resolve_offer(candidates, [], [], [], {}).rules[ID].digest


def test_of_two_texts_with_one_id_the_name_decides_then_the_date_then_the_name_again() -> None:
    assert winner(fit(ID, "a", "1", "2026"), fit(ID, ID, "2", "2025")) == "2"
    assert winner(fit(ID, "a", "1", "2025"), fit(ID, "b", "2", "2026")) == "2"
    assert winner(fit(ID, "b", "1"), fit(ID, "a", "2")) == "2"


def test_the_loser_is_set_aside_and_a_twin_is_not() -> None:
    offer = resolve_offer([fit(ID, "a", "1"), fit(ID, "b", "1"), fit(ID, "c", "2")], [], [], [], {})
    assert [aside.rule_id for aside in offer.set_aside] == [ID]
    assert offer.set_aside[0].reason.startswith("c and a ")


@given(st.permutations([fit(ID, name, digest, "2026") for name, digest in ("a1", "b2", "c1")]))
def test_the_order_of_an_answer_decides_nothing(candidates: list[AcceptedItem]) -> None:
    assert resolve_offer(candidates, [], [], [], {}) == resolve_offer(candidates[::-1], [], [], [], {})


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        (f"title: x\nid: {ID}\n", ID),
        (f'id: "{ID}"', ID),
        (f"'id': '{ID}' # the id", ID),
        (f'{{"id": "{ID}"}}', None),
        (f"  id: {ID}", None),
        (f"rule_id: {ID}", None),
        ("id:\n", None),
        ("", None),
    ],
)
def test_the_id_that_a_broken_text_states(text: str, stated: str | None) -> None:
    assert stated_id(text) == stated


@pytest.mark.parametrize(
    ("name", "stated", "meant"),
    [
        ("whatever.yaml", ID, ID),
        (ID, None, ID),
        (f"rules/tool-poisoning/{ID}-asks-for-a-key.yaml", None, ID),
        (f"atr:tool-poisoning:{ID}.yaml", None, ID),
        (f"{LONGER}.yaml", None, LONGER),
        (f"{ID}x.yaml", None, None),
        ("whatever.yaml", "ATR-2026-99999", None),
        ("", None, None),
    ],
)
def test_for_which_rule_in_service_it_was_meant(name: str, stated: str | None, meant: str | None) -> None:
    assert meant_id(name, stated, {ID, LONGER}) == meant


def test_what_is_set_aside_keeps_what_is_in_service_unless_there_is_a_good_text() -> None:
    unfit = [
        RejectedItem(Item(f"{ID}.yaml", 0, 1, "1"), "x" * 1000, None),
        RejectedItem(Item("b", 0, 1, "2"), "no", LONGER),
    ]
    source = [SetAside("ATR-3.yaml", "is a pipe")]
    offer = resolve_offer([fit(LONGER, "c", "3")], unfit, source, {ID, LONGER, "ATR-3"}, {})
    assert offer.kept == {ID, "ATR-3"}
    assert [aside.rule_id for aside in offer.set_aside] == [ID, LONGER, "ATR-3.yaml"]
    assert len(offer.set_aside[0].reason) == MAX_REASON


def test_a_partial_answer_stands_on_the_one_before() -> None:
    base = {ID: TextRef("1", "atr"), LONGER: TextRef("2", "atr")}
    offer = resolve_offer([fit(LONGER, "a", "3")], [], [], [], base)
    assert offer.rules == {ID: TextRef("1", "atr"), LONGER: TextRef("3", "atr")}
