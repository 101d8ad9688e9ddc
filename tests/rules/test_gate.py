import json

import msgspec
import pytest

from app.rules.gate import GateReport, Quality, gate
from app.rules.yaml_text import dump_yaml, parse_yaml
from tests.example_rules import rule_text
from tests.rules.conftest import Doc


def _doc() -> Doc:
    found = parse_yaml(rule_text())
    assert isinstance(found, dict)
    return found


def test_the_gate_lets_published_rules_pass(published_texts: list[str]) -> None:
    reports = {
        str(text.partition("\nid:")[2].split()[0]): gate(text, quality="strict") for text in published_texts
    }
    short = {
        i
        for i, r in reports.items()
        if r.reasons and all("give at least 3" in reason for reason in r.reasons)
    }
    failing = {i for i, r in reports.items() if not r.passed} - short
    assert failing == {
        *("ATR-2026-00282", "ATR-2026-01005"),  # hang JavaScript
        "ATR-2026-00290",  # does not compile outside JavaScript
        *(f"ATR-2026-{n:05}" for n in range(548, 554)),  # for traces and metrics
    }
    assert len(short) == 42


@pytest.mark.parametrize("quality", ["standard", "strict"])
def test_a_good_rule_passes(quality: Quality) -> None:
    report = gate(rule_text(), quality=quality)
    assert report == GateReport(True, (), {"re2": 1}, report.selftest)
    assert report.selftest is not None
    assert report.selftest.fired == report.selftest.true_positives >= 3


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(a+)+$", "condition 0: the pattern may take exponential time, as on 'aaa"),
        ("(a|a)*b", "may take exponential time"),
        ("(.*a){20}", "may take exponential time"),
        (r"^(\w+\s?)*$", "may take exponential time"),
        ("(unclosed", "condition 0: the pattern does not compile"),
        (r"(?P<n>x)", "has the group '(?P"),
        (r"(?>x)", "condition 0: the pattern has the group '(?>x', which JavaScript does not know"),
        ("|".join(f"x{n}[a-z]*[a-y]*[a-x]*[a-w]*!" for n in range(130)), "too many repetitions"),
        ("never there", "test_cases: the rule does not fire on its true positive 0"),
        (".", "test_cases: the rule fires on its true negative 0"),
    ],
)
def test_a_pattern_that_is_no_good_is_kept_out(pattern: str, reason: str) -> None:
    doc = _doc()
    doc["detection"]["conditions"][0]["value"] = pattern
    report = gate(dump_yaml(doc), quality="standard")
    assert not report.passed
    assert reason in report.reasons[0]
    assert all(line.isascii() and "\n" not in line for line in report.reasons)


def test_the_published_pattern_that_takes_v8_minutes_is_kept_out(published_texts: list[str]) -> None:
    text = next(text for text in published_texts if "id: ATR-2026-01005" in text)
    assert (
        gate(text, quality="standard")
        .reasons[0]
        .startswith("condition 0: the pattern may take exponential time")
    )


def test_cases_are_not_run_once_a_pattern_may_hang() -> None:
    doc = _doc()
    doc["detection"]["conditions"].append(
        {"field": "content", "operator": "regex", "value": r"(?!z)(\w+\s?)*$!"}
    )
    doc["test_cases"]["true_positives"].append({"input": "a" * 60})
    report = gate(dump_yaml(doc), quality="standard")
    assert report.selftest is None
    assert report.engines == {"re2": 1, "re": 1}


def test_strict_asks_for_three_cases_of_each_kind() -> None:
    doc = _doc()
    doc["test_cases"]["true_negatives"] = doc["test_cases"]["true_negatives"][:2]
    text = dump_yaml(doc)
    assert gate(text, quality="standard").passed
    assert "give at least 3" in gate(text, quality="strict").reasons[0]
    del doc["test_cases"]
    assert gate(dump_yaml(doc), quality="standard") == GateReport(True, (), {"re2": 1}, None)
    assert "has 0 true positives and 0 true negatives" in gate(dump_yaml(doc), quality="strict").reasons[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "line 2: is not YAML"),
        ("- a", "text: must be a YAML mapping"),
        (json.dumps({"type": "skill-audit-finding", "needsLLMDraft": True}), "id: must be text"),
        (rule_text().replace("severity: high", "severity: extreme"), "severity: must be one of"),
    ],
)
def test_what_is_no_rule_is_kept_out_with_the_field_named(text: str, reason: str) -> None:
    report = gate(text, quality="standard")
    assert not report.passed
    assert report.reasons[0].startswith(reason)
    assert report.engines == {}


def test_plain_operators_pass_without_an_engine() -> None:
    doc = _doc()
    doc["detection"]["conditions"][0].update(operator="contains", value="registry signing key")
    report = gate(dump_yaml(doc), quality="strict")
    assert report.passed
    assert report.engines == {}


def test_many_reasons_are_cut_short_and_a_report_crosses_processes() -> None:
    doc = _doc()
    doc["detection"]["conditions"] = [{"field": "content", "operator": "regex", "value": "("}] * 50
    report = gate(dump_yaml(doc), quality="standard")
    assert len(report.reasons) == 21
    assert report.reasons[-1] == "and 30 more"
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=GateReport) == report
