import json
import pickle
import time

import msgspec
import pytest

from app.rules.compare import text_digest
from app.rules.errors import RuleTextError, YamlError
from app.rules.inspect import Inspection, inspect_text
from app.rules.validate import Profile
from tests.example_rules import rule_text


def test_a_whole_rule_is_inspected_without_remarks() -> None:
    text = rule_text()
    found = inspect_text(text, profile=Profile.PUBLISHED)
    assert found.text_digest == text_digest(text)
    assert found.detection_digest
    assert found.facts is not None
    assert found.facts.rule_id == "ATR-2026-90001"
    assert found.facts.mitre_techniques == "AML.T0051,AML.T0057"
    assert (found.problems, found.warnings, found.guard_refusal) == ((), (), None)
    assert found.guard_text is not None
    assert json.loads(found.guard_text)["id"] == "ATR-2026-90001"


def test_a_guards_request_for_a_draft_is_looked_at_not_refused() -> None:
    draft = {
        "type": "skill-audit-finding",
        "skillName": "x",
        "riskLevel": "HIGH",
        "findings": [],
        "needsLLMDraft": True,
    }
    found = inspect_text(json.dumps(draft), profile=Profile.PUBLISHED)
    assert found.facts is None
    assert found.detection_digest is None
    assert found.guard_text is None
    assert found.guard_refusal
    assert found.problems


def test_a_rule_without_source_type_has_problems_but_a_guard_text() -> None:
    text = rule_text()
    start = text.index("agent_source:")
    cut = text[:start] + text[text.index("detection:") :]
    found = inspect_text(cut, profile=Profile.PUBLISHED)
    assert [problem.field for problem in found.problems] == ["agent_source.type"]
    assert found.guard_text is not None
    assert found.facts is not None
    assert inspect_text(cut, profile=Profile.BUNDLED).problems == ()


@pytest.mark.parametrize("text", ["", "a", "- a", "[1]", "null", "a: ["])
def test_what_is_no_mapping_is_no_rule_text(text: str) -> None:
    with pytest.raises(RuleTextError):
        inspect_text(text, profile=Profile.PUBLISHED)


def test_published_rules_are_looked_at_quickly_and_cross_processes(published_texts: list[str]) -> None:
    begun = time.process_time()
    found = [inspect_text(text, profile=Profile.PUBLISHED) for text in published_texts]
    spent = time.process_time() - begun
    assert spent < 3.0  # 0.5 s measured on the 2-core reference machine
    assert sum(inspection.guard_text is not None for inspection in found) == 734
    assert not any(inspection.problems or inspection.facts is None for inspection in found)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=list[Inspection]) == found


def test_a_refusal_survives_the_way_back_from_a_worker() -> None:
    error = YamlError("line 3", "repeats a key")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is YamlError
    assert (copy.field, copy.reason, str(copy)) == ("line 3", "repeats a key", "line 3: repeats a key")
