"""One line of a rule text changes, and nothing else."""

import difflib

import pytest

from app.rules.edit import with_severity
from app.rules.errors import RuleTextError
from app.rules.validate import SEVERITIES
from app.rules.yaml_text import parse_yaml


def test_published_rules_change_in_one_line_only(published_texts: list[str]) -> None:
    for text in published_texts[::3]:
        own = parse_yaml(text)["severity"]  # type: ignore[index]
        edited = with_severity(text, "informational")
        changed = [line for line in difflib.ndiff(text.splitlines(), edited.splitlines()) if line[0] in "+-"]
        assert own != "informational"
        assert len(changed) == 2
        assert changed[1].startswith("+ severity: informational")
        assert parse_yaml(with_severity(edited, own)) == parse_yaml(text)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_comments_and_other_severities_stay(severity: str) -> None:
    text = "a:\n  severity: x\nseverity: high # why\nb: |\n  severity: y\n"
    assert with_severity(text, severity) == text.replace("severity: high", f"severity: {severity}")


def test_an_unknown_severity_is_refused() -> None:
    with pytest.raises(RuleTextError) as caught:
        with_severity("severity: high\n", "huge")
    assert caught.value.field == "severity"
