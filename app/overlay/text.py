"""Texts of one's own that replace upstream's: read, and looked at as closely as an import of local rules."""

from pathlib import Path

from app.overlay.config import ReplaceOverlay
from app.overlay.entries import Replacement
from app.rules.inspect import InspectionResult, inspect_untrusted
from app.rules.local import ImportRefused, RuleFileError

MAX_FILE_BYTES = 1 << 20
"""More than any rule text may have, so what is cut off there is refused as too long."""


def read_replacement(entry: ReplaceOverlay) -> Replacement:
    """The text of a configured entry: the operator's own file, read and inspected where it is asked for.

    Raises `ImportRefused` with everything that keeps it from being used.
    """
    path = entry.text_file
    if not Path(path).is_file():  # opening a pipe would wait for ever
        raise ImportRefused([RuleFileError(path, "text", "there is no such file")])
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise ImportRefused([RuleFileError(path, "text", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ImportRefused([RuleFileError(path, "text", f"is not UTF-8 (byte {error.start})")]) from error
    return fit(entry.rule, path, text, inspect_untrusted(text))


def fit(rule_id: str, name: str, text: str, look: InspectionResult) -> Replacement:
    """A text that can be served as `rule_id`; raises `ImportRefused` with all that is wrong with it."""
    if look.inspection is None:
        raise ImportRefused([RuleFileError(name, look.field, look.reason)])
    mistakes = [RuleFileError(name, p.field, p.message) for p in look.inspection.problems]
    facts = look.inspection.facts
    if facts is not None and facts.rule_id != rule_id:
        mistakes.append(
            RuleFileError(name, "id", f"is {facts.rule_id}; a replacement keeps the id {rule_id}")
        )
    if mistakes or facts is None:
        raise ImportRefused(mistakes)
    return Replacement(text, look.inspection)
