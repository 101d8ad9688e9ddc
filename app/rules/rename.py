"""Give a rule text another id and leave the rest as its author wrote it."""

import re

from app.rules.errors import RuleTextError
from app.rules.inspect import parse_mapping
from app.rules.validate import RULE_ID
from app.rules.yaml_text import dump_yaml

_ID_LINE = re.compile(
    r"^(?:id|'id'|\"id\")[ \t]*:[ \t]+(?P<value>[^\s#][^#\r\n]*?)[ \t]*(?:[ \t]#[^\r\n]*)?\r?$", re.MULTILINE
)


def with_id(text: str, new_id: str) -> str:
    """Return the text with its top-level id replaced, comments and layout kept.

    The one changed line is verified by reading the result back; a text whose id is not on a line of its own (flow
    style, say) is written anew from its values. Raises `RuleTextError` when the text is no YAML mapping or
    `new_id` cannot be an id.
    """
    if not RULE_ID.fullmatch(new_id):
        raise RuleTextError("id", f"{new_id[:80]!r} cannot be a rule id")
    wanted = {**parse_mapping(text), "id": new_id}
    for line in _ID_LINE.finditer(text):
        edited = f"{text[: line.start('value')]}{_spelled(new_id)}{text[line.end('value') :]}"
        try:
            if parse_mapping(edited) == wanted:
                return edited
        except RuleTextError:
            continue
    return dump_yaml(wanted)


def _spelled(rule_id: str) -> str:
    """Return the id as a YAML scalar that every reader takes for text."""
    return dump_yaml({"id": rule_id}).removeprefix("id: ").rstrip("\n")
