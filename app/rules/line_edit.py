"""Change one top-level value of a rule text and leave the rest as its author wrote it."""

import re

from app.rules.errors import RuleTextError
from app.rules.inspect import parse_mapping
from app.rules.yaml_text import dump_yaml


def with_value(text: str, key: str, value: str) -> str:
    """Return the text with its top-level `key` set to the text `value`, comments and layout kept.

    The one changed line is verified by reading the result back; a text whose `key` is not on a line of its own
    (flow style, say) is written anew from its values. Raises `RuleTextError` when the text is no YAML mapping.
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
    """Return the value as a YAML scalar that every reader takes for text."""
    return dump_yaml({"v": value}).removeprefix("v: ").rstrip("\n")
