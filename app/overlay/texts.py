"""The three-way view of an overlay entry: for a sandbox, since upstream's texts are foreign.

Texts of one's own that replace upstream's: read, and looked at as closely as an import of local rules.
"""

from pathlib import Path

import msgspec

from app.overlay.config import ReplaceOverlay
from app.overlay.entries import Replacement
from app.rules.difference import FieldChange, three_way
from app.rules.local import ImportRefused, Mistake
from app.rules.look import Look, look_at
from app.rules.reseverity import with_severity


class TextComparison(msgspec.Struct, frozen=True):
    """The part of `Compared` that takes parsing."""

    our_text: str | None
    theirs: list[FieldChange]
    ours: list[FieldChange]
    conflicts: list[str]


class ComparedTexts(msgspec.Struct, frozen=True):
    """The texts of an entry; `ours` is a pin's or a replacement's."""

    base: str | None
    ours: str | None
    severity: str | None
    now: str | None


def compare_texts(sides: ComparedTexts) -> TextComparison:
    """Compare the texts, field by field (for a sandbox: upstream's are foreign).

    An entry that changes no text, or one whose rule no upstream ever had, has nothing on our side.
    """
    if sides.base is None:
        return TextComparison(sides.ours, [], [], [])
    ours = with_severity(sides.base, sides.severity) if sides.severity is not None else sides.ours
    found = three_way(sides.base, ours or sides.base, sides.now or sides.base)
    return TextComparison(ours, found.theirs, found.ours, found.conflicts)


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
    return check_replacement(entry.rule, path, text, look_at(text))


def check_replacement(rule_id: str, name: str, text: str, look: Look) -> Replacement:
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
