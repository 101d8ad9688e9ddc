import json

import pytest

from app.rules.errors import GuardRefusal
from app.rules.guard_form import guard_text, has_nested_quantifier, refusal
from app.rules.yaml_text import parse_yaml
from tests.example_rules import rule_text
from tests.node import in_node
from tests.rules.conftest import Doc

# What stock Guard 1.9.0 asks of a rule: a bare compile; then its engine compiles with i, or iu.
LOADS = r"""
return given.map((text) => {
  const rule = JSON.parse(text);
  if (!(rule.id && rule.title && rule.detection && rule.agent_source?.type)) return 'incomplete';
  for (const { operator, value } of rule.detection.conditions) {
    if (operator !== 'regex') continue;
    if (value.length > 2000) return 'long';
    try {
      new RegExp(value);
      new RegExp(value, value.includes('\\u{') || value.includes('\\p{') ? 'iu' : 'i');
    } catch (error) { return String(error); }
  }
  return '';
});
"""


@pytest.fixture
def doc() -> Doc:
    found = parse_yaml(rule_text())
    assert isinstance(found, dict)
    return found


def _with_pattern(doc: Doc, pattern: str) -> Doc:
    doc["detection"]["conditions"][0]["value"] = pattern
    return doc


def test_published_rules_load_in_node(published_docs: dict[str, Doc]) -> None:
    texts, refused = [], {}
    for rule_id, published in published_docs.items():
        try:
            texts.append(guard_text(published))
        except GuardRefusal as refusal:
            refused[rule_id] = refusal.reason
    assert len(texts) == 734
    assert all(text.isascii() for text in texts)
    assert sum("itself repeats without bound" in reason for reason in refused.values()) == 39
    assert sum("does not compile in JavaScript" in reason for reason in refused.values()) == 10
    assert sum("Guards take at most 2000" in reason for reason in refused.values()) == 2
    assert [said for said in in_node(LOADS, texts) if said] == []


def test_nothing_but_flags_and_source_type_changes(published_docs: dict[str, Doc]) -> None:
    original = published_docs["ATR-2026-00150"]
    served = json.loads(guard_text(original))
    before = original["detection"].pop("conditions")
    after = served["detection"].pop("conditions")
    assert served == original
    assert [condition.pop("value") for condition in after] == [
        condition["value"].removeprefix("(?i)") for condition in before
    ]
    original["detection"]["conditions"] = before


@pytest.mark.parametrize(
    ("scan_target", "kind"),
    [
        ("mcp", "mcp_exchange"),
        ("tool_args", "tool_call"),
        ("user_input", "llm_io"),
        ("both", "llm_io"),
        (None, "llm_io"),
    ],
)
def test_a_missing_source_type_is_derived(doc: Doc, scan_target: str | None, kind: str) -> None:
    del doc["agent_source"]
    doc["tags"]["scan_target"] = scan_target
    assert json.loads(guard_text(doc))["agent_source"] == {"type": kind}
    doc["agent_source"] = {"type": "", "framework": ["any"]}
    assert json.loads(guard_text(doc))["agent_source"] == {"type": kind, "framework": ["any"]}
    doc["agent_source"] = {"type": "memory_access"}
    assert json.loads(guard_text(doc))["agent_source"] == {"type": "memory_access"}


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("x" * 2001, "has 2001 characters"),
        ("😀" * 1001, "has 2002 characters"),
        ("(a+)+", "repeats a group"),
        ("(([a-z])+)+", "repeats a group"),
        (r"(?:\w+\s+){3,}", "repeats a group"),
        ("((ab)*c)*", "repeats a group"),
        ("(a|a)+", "two equal parts"),
        ("a.*.*.*b", "three or more"),
        ("a(?i)b", "does not compile"),
        ("(?P<n>a)", "does not compile"),
        ("a++", "does not compile"),
        ("(?>a)", "does not compile"),
        ("[\\u{1F600}-\\u{1F64F}]", "does not compile"),
        ("\\u{41}\\-", "does not compile"),
        ("(?x) a b", "relies on the flag (?x)"),
    ],
)
def test_what_a_guard_would_drop_is_refused(doc: Doc, pattern: str, part: str) -> None:
    with pytest.raises(GuardRefusal) as caught:
        guard_text(_with_pattern(doc, pattern))
    assert caught.value.reason.startswith("condition 0: ")
    assert part in caught.value.reason


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "x" * 2000,
            "(a+)b",
            "(a+){2,5}",
            r"(?:ab)+",
            r"([+*])+",
            r"(\+)+",
            "(?:a|b)*",
            "(a?)+",
            "a.*.*b",
            "(a{2,3})+",
        ),
        r"\Aa\Z",  # identity escapes: compiles, and means the letters
    ],
)
def test_what_a_guard_takes_is_served(doc: Doc, pattern: str) -> None:
    served = guard_text(_with_pattern(doc, f"(?i){pattern}"))
    assert json.loads(served)["detection"]["conditions"][0]["value"] == pattern
    assert in_node(LOADS, [served]) == [""]


@pytest.mark.parametrize(
    ("pattern", "nested"),
    [
        *(
            ("(a+)+", True),
            ("((a)+b)*", True),
            ("(?=a+)*", True),
            ("(a{2,})+", True),
            ("(a{,})+", True),
            ("(a+)?", False),
        ),
        *(
            ("(a)(b+)+", True),
            ("(a+)(b)+", False),
            ("(a+[)])+", True),
            (r"(a\+)+", False),
            ("([a+])+", False),
        ),
    ],
)
def test_the_guards_rule_of_thumb_for_nested_quantifiers(pattern: str, nested: bool) -> None:
    assert has_nested_quantifier(pattern) is nested


@pytest.mark.parametrize("missing", ["id", "title", "detection"])
def test_an_incomplete_rule_is_refused(doc: Doc, missing: str) -> None:
    del doc[missing]
    with pytest.raises(GuardRefusal, match=missing):
        guard_text(doc)


def test_odd_conditions_are_refused_and_other_operators_kept(doc: Doc) -> None:
    doc["detection"]["conditions"] = {"named": {"field": "content", "patterns": ["x"]}}
    with pytest.raises(GuardRefusal, match="not a list"):
        guard_text(doc)
    doc["detection"]["conditions"] = [{"field": "content", "operator": "regex", "value": ["x"]}]
    with pytest.raises(GuardRefusal, match="not text"):
        guard_text(doc)
    plain = {"field": "content", "operator": "contains", "value": "(?i)x"}
    doc["detection"]["conditions"] = [plain]
    assert json.loads(guard_text(doc))["detection"]["conditions"] == [plain]


def test_a_refusal_is_none_for_a_plain_pattern() -> None:
    assert refusal("send the key") is None
