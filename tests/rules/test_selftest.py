from collections import Counter

import pytest

from app.rules.errors import PatternError
from app.rules.gate import CaseFailure, case_texts, plain_check, run_selftest
from app.rules.regexes import compile_pattern
from app.rules.rule import Condition, conditions
from tests.rules.conftest import Doc


def _doc(condition: str, cases: object, *fields: str) -> Doc:
    listed = [{"field": field, "operator": "regex", "value": "x"} for field in fields]
    return {"detection": {"condition": condition, "conditions": listed}, "test_cases": cases}


def test_published_rules_fire_on_their_own_cases(published_docs: dict[str, Doc]) -> None:
    counts: Counter[str] = Counter()
    for doc in published_docs.values():
        try:
            checks = [compile_pattern(condition.pattern).search for condition in conditions(doc)]
        except PatternError:
            continue
        result = run_selftest(doc, checks)
        counts["fired"] += result.fired
        counts["true positives"] += result.true_positives
        counts["quiet"] += result.quiet
        counts["true negatives"] += result.true_negatives
        counts["rules with failures"] += bool(result.failures)
    assert counts == {
        **{"fired": 4021, "true positives": 4051, "quiet": 3919, "true negatives": 3919},
        "rules with failures": 6,  # for traces and metrics
    }


@pytest.mark.parametrize(
    ("case", "texts"),
    [
        ("plain", {"input": "plain"}),
        ({"input": "a", "expected": "triggered", "reason": "b"}, {"input": "a"}),
        ({"input": {"tool_name": "a", "tool_args": "b", "n": 1}}, {"tool_name": "a", "tool_args": "b"}),
        ({"tool_call": {"name": "a", "args": "b"}}, {"tool_name": "a", "tool_args": "b"}),
        (
            {"tool_description": "a", "detection_field": "content", "matched_condition": "b"},
            {"tool_description": "a"},
        ),
        ({"expected": "triggered"}, {}),
        (7, {}),
    ],
)
def test_the_texts_of_a_case(case: object, texts: dict[str, str]) -> None:
    assert case_texts(case) == texts


def test_a_case_that_names_a_field_is_held_to_it() -> None:
    checks = [lambda text: "x" in text]
    named = {"true_positives": [{"tool_call": {"name": "quiet", "args": "x"}}]}
    assert run_selftest(_doc("any", named, "tool_name"), checks).fired == 0
    assert run_selftest(_doc("any", named, "content"), checks).fired == 1


def test_any_needs_one_condition_and_all_needs_each() -> None:
    cases = {"true_positives": ["x"], "true_negatives": [{"input": "y"}]}
    checks = [lambda text: text == "x", lambda text: text == "y"]
    assert run_selftest(_doc("any", cases, "a", "b"), checks).failures == (
        CaseFailure("true_negative", 0, "y"),
    )
    assert run_selftest(_doc("all", cases, "a", "b"), checks).failures == (
        CaseFailure("true_positive", 0, "x"),
    )


def test_a_case_without_text_fails_either_way() -> None:
    result = run_selftest(
        _doc("any", {"true_positives": [{}], "true_negatives": [{}]}, "a"), [lambda text: False]
    )
    assert [failure.kind for failure in result.failures] == ["true_positive", "true_negative"]


def test_plain_operators() -> None:
    assert plain_check(Condition("f", "contains", "Key"))("the KEYS")
    assert plain_check(Condition("f", "starts_with", "the"))("The keys")
    assert not plain_check(Condition("f", "starts_with", "keys"))("The keys")
    assert plain_check(Condition("f", "exact", "a"))("a")
    assert not plain_check(Condition("f", "exact", "a"))("A")
