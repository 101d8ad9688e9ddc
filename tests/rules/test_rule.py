import pytest

from app.rules.rule import Condition, RuleFacts, conditions, facts, match_mode
from tests.rules.conftest import Doc

TWELVE = """
ATR-2026-00150 context-exfiltration critical AML.T0057 credential-in-response,mcp,high
ATR-2026-00001 prompt-injection high AML.T0051,AML.T0051.000 direct,mcp,high
ATR-2026-00021 context-exfiltration critical AML.T0057,AML.T0055 credential-exposure,mcp,high
ATR-2026-00010 tool-poisoning critical AML.T0051.001,AML.T0056 mcp-response-injection,mcp,high
ATR-2026-00139 agent-manipulation critical AML.T0051 casual-authority-redirect,mcp,high
ATR-2026-00433 model-abuse critical AML.T0010,AML.T0011.000 pickle-deserialization-rce,both,high
ATR-2026-01457 context-exfiltration high AML.T0024 system-prompt-extraction,mcp,high
ATR-2026-00235 prompt-injection high AML.T0054 persona-moral-bypass,both,high
ATR-2026-00574 context-exfiltration high AML.T0051 paraphrased-system-prompt-extraction,mcp,medium
ATR-2026-00552 agent-manipulation high AML.T0051,AML.T0051.000 goal-drift-trace,runtime,medium
ATR-2026-02401 excessive-autonomy critical AML.T0053,AML.T0051 rogue-agent-mass-connector-grant,runtime,high
ATR-2026-01005 prompt-injection high AML.T0051,AML.T0054 many-shot-conditioning,mcp,medium
"""


@pytest.mark.parametrize("line", TWELVE.strip().splitlines())
def test_published_rules_are_classified_as_documented(published_docs: dict[str, Doc], line: str) -> None:
    rule_id, category, severity, techniques, tags = line.split()
    found = facts(published_docs[rule_id])
    assert (found.rule_id, found.category, found.severity) == (rule_id, category, severity)
    assert (found.mitre_techniques, found.tags) == (techniques, tags)


def test_every_published_rule_has_all_facts_but_a_few_tags(published_docs: dict[str, Doc]) -> None:
    found = [facts(doc) for doc in published_docs.values()]
    assert all(
        f.title and f.category and f.severity and f.status and f.maturity and f.mitre_techniques
        for f in found
    )
    assert max(len(f.mitre_techniques) for f in found) == 47
    assert sum(f.tags.count(",") == 2 for f in found) == 768


def test_missing_and_odd_values_give_empty_facts() -> None:
    assert facts({}) == RuleFacts("", "", "", "", "", "", "", "")
    odd: Doc = {"id": 7, "tags": ["x"], "references": {"mitre_atlas": "AML.T0051 - x"}}
    assert facts(odd).mitre_techniques == "AML.T0051"
    twice: Doc = {"references": {"mitre_atlas": ["AML.T0057 - x", "AML.T0051.001", "AML.T0057"]}}
    assert facts(twice).mitre_techniques == "AML.T0057,AML.T0051.001"
    assert (
        facts(
            {"references": {"mitre_atlas": ["AML.CS0036 - x", 3, "AML.T00511", "xAML.T0051"]}}
        ).mitre_techniques
        == ""
    )


def test_conditions_and_their_combination() -> None:
    whole = {"field": "content", "operator": "regex", "value": "x"}
    doc: Doc = {"detection": {"conditions": [whole, {"field": "content"}, "x"], "condition": "or"}}
    assert conditions(doc) == (Condition("content", "regex", "x"),)
    assert match_mode(doc) == "any"
    assert match_mode({"detection": {"condition": "all"}}) == "all"
    assert match_mode({"detection": {"condition": "a AND b"}}) is None
    assert match_mode({}) is None
