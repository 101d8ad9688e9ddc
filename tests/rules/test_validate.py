import copy
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from app.rules.validate import Profile, RuleProblem, problems, warnings
from app.rules.yaml_text import parse_yaml
from tests.example_rules import rule_text
from tests.needs import lacking
from tests.rules.conftest import Doc


@pytest.fixture
def doc() -> Doc:
    found = parse_yaml(rule_text())
    assert isinstance(found, dict)
    return copy.deepcopy(found)


def test_published_rules_have_no_problems(published_docs: dict[str, Doc]) -> None:
    assert [d["id"] for d in published_docs.values() if problems(d, profile=Profile.PUBLISHED)] == []
    warned = [rule_id for rule_id, d in published_docs.items() if warnings(d)]
    assert len(warned) == 7  # 5 drafts and 2 deprecated ones, which Guards never fire


def test_rules_bundled_with_pyatr_satisfy_the_stripped_profile() -> None:
    found = importlib.util.find_spec("pyatr")
    if found is None or found.origin is None:
        lacking("the package pyatr")
    bundled = json.loads(Path(found.origin).with_name("_bundled_rules.json").read_text(encoding="utf-8"))
    assert len(bundled) >= 833
    assert [d["id"] for d in bundled if problems(d, profile=Profile.BUNDLED)] == []
    assert problems(bundled[0], profile=Profile.PUBLISHED)


def test_an_empty_document_lacks_all_that_is_required() -> None:
    fields = [problem.field for problem in problems({}, profile=Profile.PUBLISHED)]
    assert fields == [
        *("id", "title", "severity", "tags", "detection"),
        *("status", "description", "author", "date", "agent_source.type", "response.actions"),
    ]
    assert [problem.field for problem in problems({}, profile=Profile.BUNDLED)] == fields[:5]


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("id",), "ATR 1", "id"),
        (("id",), "-x", "id"),
        (("id",), 7, "id"),
        (("id",), "x" * 129, "id"),
        (("id",), "ATR-1\n", "id"),
        (("title",), "", "title"),
        (("title",), "two\nlines", "title"),
        (("title",), "x" * 501, "title"),
        (("severity",), "extreme", "severity"),
        (("severity",), ["high"], "severity"),
        (("status",), "test", "status"),
        (("maturity",), "needs-human-poc", "maturity"),
        (("date",), 2026, "date"),
        (("author",), None, "author"),
        (("description",), "x" * 20_001, "description"),
        (("tags",), ["attack.t1059"], "tags"),
        (("tags", "category"), "prompt injection", "tags.category"),
        (("tags", "subcategory"), {"a": 1}, "tags.subcategory"),
        (("agent_source",), "llm_io", "agent_source.type"),
        (("response", "actions"), [], "response.actions"),
        (("response", "actions"), [{"a": 1}], "response.actions"),
        (("detection",), [], "detection"),
        (("detection", "condition"), "a AND b", "detection.condition"),
        (("detection", "condition"), None, "detection.condition"),
        (("detection", "conditions"), {}, "detection.conditions"),
        (("detection", "conditions"), [], "detection.conditions"),
        (
            ("detection", "conditions"),
            [{"field": "a", "operator": "regex", "value": "x"}] * 201,
            "detection.conditions",
        ),
        (("detection", "conditions", 0), "x", "detection.conditions[0]"),
        (("detection", "conditions", 0, "field"), None, "detection.conditions[0].field"),
        (("detection", "conditions", 0, "operator"), "ml_classifier", "detection.conditions[0].operator"),
        (("detection", "conditions", 0, "value"), 7, "detection.conditions[0].value"),
        (("detection", "conditions", 0, "value"), "", "detection.conditions[0].value"),
        (("detection", "conditions", 0, "value"), "x" * 4097, "detection.conditions[0].value"),
        (("test_cases",), ["x"], "test_cases"),
        (("test_cases", "true_negatives"), [], "test_cases.true_negatives"),
        (("test_cases", "true_positives"), ["x"] * 501, "test_cases.true_positives"),
    ],
)
def test_each_fault_is_named_by_its_field(
    doc: Doc, path: tuple[str | int, ...], value: object, field: str
) -> None:
    place: Any = doc
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    found = problems(doc, profile=Profile.PUBLISHED)
    assert [problem.field for problem in found] == [field]
    assert found[0].message


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("id",), "acme-7", "id"),
        (("tags", "category"), "weather", "tags.category"),
        (("agent_source", "type"), "carrier_pigeon", "agent_source.type"),
        (("date",), "yesterday", "date"),
        (("status",), "draft", "status"),
        (("maturity",), "deprecated", "maturity"),
    ],
)
def test_what_is_only_unusual_is_a_warning(doc: Doc, path: tuple[str, ...], value: str, field: str) -> None:
    assert warnings(doc) == ()
    place: Any = doc
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert problems(doc, profile=Profile.PUBLISHED) == ()
    assert [warning.field for warning in warnings(doc)] == [field]


@pytest.mark.parametrize(
    "rule_id", ["ATR-2026-00001", "ATR-2026-DRAFT-0a1b2c3d", "ATR-LOCAL-0a1b2c3d", "ATR-DE-2026-00001"]
)
def test_known_forms_of_ids_and_own_categories_are_not_remarked_on(doc: Doc, rule_id: str) -> None:
    doc["id"] = rule_id
    doc["tags"]["category"] = "priv-acme-payments"
    assert warnings(doc) == ()


def test_a_rule_without_test_cases_is_whole_but_remarked_on(doc: Doc) -> None:
    del doc["test_cases"]
    assert problems(doc, profile=Profile.PUBLISHED) == ()
    assert isinstance(warnings(doc)[0], RuleProblem)
    assert warnings(doc)[0].field == "test_cases"
