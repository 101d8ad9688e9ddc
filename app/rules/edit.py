"""Change the id, the severity or another top-level value of a rule text; the rest stays as its author wrote it."""

import re

from app.rules.errors import RuleTextError
from app.rules.validate import RULE_ID, SEVERITIES
from app.rules.yaml_text import dump_yaml, parse_mapping


def with_value(text: str, key: str, value: str) -> str:
    """Return the text with its top-level `key` set to the text `value`, comments and layout kept.

    The one changed line is verified by reading the result back; a text whose `key` is not on a line of its own
    (flow style, say) is written again from its values. Raises `RuleTextError` when the text is no YAML mapping.
    """
    wanted = {**parse_mapping(text), key: value}
    for line in _lines_of(key).finditer(text):
        edited = f"{text[: line.start('value')]}{_spelled(value)}{text[line.end('value') :]}"
        try:
            if parse_mapping(edited) == wanted:
                return edited
        except RuleTextError:
            continue
    return dump_yaml(wanted)


def _lines_of(key: str) -> re.Pattern[str]:
    name = re.escape(key)
    return re.compile(
        rf"^(?:{name}|'{name}'|\"{name}\")[ \t]*:[ \t]+(?P<value>[^\s#][^#\r\n]*?)[ \t]*(?:[ \t]#[^\r\n]*)?\r?$",
        re.MULTILINE,
    )


def _spelled(value: str) -> str:
    """Return the value as a YAML scalar that every reader reads as text."""
    return dump_yaml({"v": value}).removeprefix("v: ").rstrip("\n")


def with_id(text: str, new_id: str) -> str:
    """Return the text with its top-level id replaced, comments and layout kept (see `with_value`).

    Raises `RuleTextError` when the text is no YAML mapping or `new_id` cannot be an id.
    """
    if not RULE_ID.fullmatch(new_id):
        raise RuleTextError("id", f"{new_id[:80]!r} cannot be a rule id")
    return with_value(text, "id", new_id)


def with_severity(text: str, severity: str) -> str:
    """Return the text with its top-level severity replaced, comments and layout kept (see `with_value`).

    Raises `RuleTextError` when the text is no YAML mapping or `severity` is not one of `SEVERITIES`.
    """
    if severity not in SEVERITIES:
        raise RuleTextError("severity", f"must be one of {', '.join(SEVERITIES)}")
    return with_value(text, "severity", severity)
