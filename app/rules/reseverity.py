"""Give a rule text another severity and leave the rest as its author wrote it."""

from app.rules.errors import RuleTextError
from app.rules.line_edit import with_value
from app.rules.validate import SEVERITIES


def with_severity(text: str, severity: str) -> str:
    """Return the text with its top-level severity replaced, comments and layout kept (see `with_value`).

    Raises `RuleTextError` when the text is no YAML mapping or `severity` is not one of `SEVERITIES`.
    """
    if severity not in SEVERITIES:
        raise RuleTextError("severity", f"must be one of {', '.join(SEVERITIES)}")
    return with_value(text, "severity", severity)
