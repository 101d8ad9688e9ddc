"""Give a rule text another id and leave the rest as its author wrote it."""

from app.rules.errors import RuleTextError
from app.rules.line_edit import with_value
from app.rules.validate import RULE_ID


def with_id(text: str, new_id: str) -> str:
    """Return the text with its top-level id replaced, comments and layout kept (see `with_value`).

    Raises `RuleTextError` when the text is no YAML mapping or `new_id` cannot be an id.
    """
    if not RULE_ID.fullmatch(new_id):
        raise RuleTextError("id", f"{new_id[:80]!r} cannot be a rule id")
    return with_value(text, "id", new_id)
