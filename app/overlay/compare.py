"""The three-way view of an overlay entry: for a sandbox, since upstream's texts are foreign."""

import msgspec

from app.rules.compare import FieldChange, three_way
from app.rules.edit import with_severity


class Comparison(msgspec.Struct, frozen=True):
    """The part of `Compared` that takes parsing."""

    our_text: str | None
    theirs: list[FieldChange]
    ours: list[FieldChange]
    conflicts: list[str]


class Sides(msgspec.Struct, frozen=True):
    """The texts of an entry; `ours` is a pin's or a replacement's."""

    base: str | None
    ours: str | None
    severity: str | None
    now: str | None


def compare(sides: Sides) -> Comparison:
    """Compare the texts, field by field (for a sandbox: upstream's are foreign).

    An entry that changes no text, or one whose rule no upstream ever had, has nothing on our side.
    """
    if sides.base is None:
        return Comparison(sides.ours, [], [], [])
    ours = with_severity(sides.base, sides.severity) if sides.severity is not None else sides.ours
    found = three_way(sides.base, ours or sides.base, sides.now or sides.base)
    return Comparison(ours, found.theirs, found.ours, found.conflicts)
