"""The texts of overlay entries: replacements are read and inspected, and entries compared with upstream's texts."""

from pathlib import Path

import msgspec

from app.overlay.config import ReplaceOverlay
from app.overlay.errors import ReplacementRefused
from app.rules.compare import FieldChange, three_way
from app.rules.edit import with_severity
from app.rules.inspect import Inspection, InspectionResult, inspect_untrusted
from app.rules.local import RuleFileError

MAX_FILE_BYTES = 1 << 20
"""More than any rule text may have, so a text that is cut off here is refused as too long."""


class Replacement(msgspec.Struct, frozen=True):
    """A text of the organisation that was inspected and has no problem."""

    text: str
    inspection: Inspection


class ComparedTexts(msgspec.Struct, frozen=True):
    """The texts of an entry; `ours` is a pin's or a replacement's."""

    base: str | None
    ours: str | None
    severity: str | None
    now: str | None


class TextComparison(msgspec.Struct, frozen=True):
    """The part of `OverlayComparison` that needs parsing."""

    our_text: str | None
    theirs: list[FieldChange]
    ours: list[FieldChange]
    conflicts: list[str]


def read_replacement(entry: ReplaceOverlay) -> Replacement:
    """Read and inspect the file of a configured entry, as closely as an import of local rules.

    Raise `ReplacementRefused` with everything that keeps it from being used.
    """
    path = entry.text_file
    if not Path(path).is_file():  # opening a pipe would wait for ever
        raise ReplacementRefused([RuleFileError(path, "text", "there is no such file")])
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise ReplacementRefused(
            [RuleFileError(path, "text", f"cannot be read: {error.strerror}")]
        ) from error
    except UnicodeDecodeError as error:
        raise ReplacementRefused(
            [RuleFileError(path, "text", f"is not UTF-8 (byte {error.start})")]
        ) from error
    return check_replacement(entry.rule, path, text, inspect_untrusted(text))


def check_replacement(rule_id: str, name: str, text: str, look: InspectionResult) -> Replacement:
    """Return a text that can be served as `rule_id`; raise `ReplacementRefused` with all that is wrong with it."""
    if look.inspection is None:
        raise ReplacementRefused([RuleFileError(name, look.field, look.reason)])
    errors = [RuleFileError(name, p.field, p.message) for p in look.inspection.problems]
    facts = look.inspection.facts
    if facts is not None and facts.rule_id != rule_id:
        errors.append(RuleFileError(name, "id", f"is {facts.rule_id}; a replacement keeps the id {rule_id}"))
    if errors or facts is None:
        raise ReplacementRefused(errors)
    return Replacement(text, look.inspection)


def compare_texts(texts: ComparedTexts) -> TextComparison:
    """Compare the texts of an entry field by field; runs in a sandbox, since upstream's texts are untrusted.

    An entry that changes no text, or whose rule no upstream ever had, has nothing on our side.
    """
    if texts.base is None:
        return TextComparison(texts.ours, [], [], [])
    ours = with_severity(texts.base, texts.severity) if texts.severity is not None else texts.ours
    found = three_way(texts.base, ours or texts.base, texts.now or texts.base)
    return TextComparison(ours, found.theirs, found.ours, found.conflicts)
