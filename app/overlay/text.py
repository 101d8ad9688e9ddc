"""Texts of one's own that replace upstream's: read, and looked at as closely as an import of local rules."""

from pathlib import Path

from app.overlay.config import ReplaceOverlay
from app.overlay.entries import Replacement
from app.rules.inspect import Look, look_at
from app.rules.local import ImportRefused, Mistake

MAX_FILE_BYTES = 1 << 20
"""More than any rule text may have, so what is cut off there is refused as too long."""


def read_replacement(entry: ReplaceOverlay) -> Replacement:
    """The text of a configured entry: the operator's own file, read and inspected where it is asked for.

    Raises `ImportRefused` with everything that keeps it from being used.
    """
    path = entry.text_file
    if not Path(path).is_file():  # opening a pipe would wait for ever
        raise ImportRefused([Mistake(path, "text", "there is no such file")])
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise ImportRefused([Mistake(path, "text", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ImportRefused([Mistake(path, "text", f"is not UTF-8 (byte {error.start})")]) from error
    return fit(entry.rule, path, text, look_at(text))


def fit(rule_id: str, name: str, text: str, look: Look) -> Replacement:
    """A text that can be served as `rule_id`; raises `ImportRefused` with all that is wrong with it."""
    if look.inspection is None:
        raise ImportRefused([Mistake(name, look.field, look.reason)])
    mistakes = [Mistake(name, p.field, p.message) for p in look.inspection.problems]
    facts = look.inspection.facts
    if facts is not None and facts.rule_id != rule_id:
        mistakes.append(Mistake(name, "id", f"is {facts.rule_id}; a replacement keeps the id {rule_id}"))
    if mistakes or facts is None:
        raise ImportRefused(mistakes)
    return Replacement(text, look.inspection)
