"""One line of a rule text changes, and nothing else."""

import difflib

import pytest

from app.rules.edit import with_id, with_severity
from app.rules.errors import RuleTextError
from app.rules.validate import SEVERITIES
from app.rules.yaml_text import parse_yaml

NEW = "ATR-LOCAL-0a1b2c3d"


def test_a_new_id_changes_one_line_of_published_rules(published_texts: list[str]) -> None:
    for text in published_texts[::7]:
        renamed = with_id(text, NEW)
        changed = [line for line in difflib.ndiff(text.splitlines(), renamed.splitlines()) if line[0] in "+-"]
        assert len(changed) == 2
        assert changed[1] == f"+ id: {NEW}"


@pytest.mark.parametrize(
    ("text", "renamed"),
    [
        ("id: A-1  # ours\ntitle: id\n", f"id: {NEW}  # ours\ntitle: id\n"),
        ("'id' : 'A-1'\r\nb: 1\r\n", f"'id' : {NEW}\r\nb: 1\r\n"),
        ("a: |\n  id: X\n\n  y\nid: A-1", f"a: |\n  id: X\n\n  y\nid: {NEW}"),
        ("tags:\n  id: X\nid: Y\n", f"tags:\n  id: X\nid: {NEW}\n"),
        ('a: "\nid: X\n"\nid: Y\n', f'a: "\nid: X\n"\nid: {NEW}\n'),
        ("{id: A-1, title: x}", f"id: {NEW}\ntitle: x\n"),
        ("id:\n  A-1\ntitle: x\n", f"id: {NEW}\ntitle: x\n"),
        ("title: x\n", f"title: x\nid: {NEW}\n"),
    ],
)
def test_only_the_top_level_id_is_replaced(text: str, renamed: str) -> None:
    assert with_id(text, NEW) == renamed


def test_an_id_that_looks_like_a_number_is_quoted() -> None:
    assert parse_yaml(with_id("id: A-1\n", "1.5")) == {"id": "1.5"}


@pytest.mark.parametrize("new_id", ["", "a b", "a\nb: c", "#a", "x" * 129])
def test_what_cannot_be_an_id_is_refused(new_id: str) -> None:
    with pytest.raises(RuleTextError) as caught:
        with_id("id: A-1\n", new_id)
    assert caught.value.field == "id"


def test_a_new_severity_changes_one_line_of_published_rules(published_texts: list[str]) -> None:
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
