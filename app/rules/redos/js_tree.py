"""The parts of a parsed JavaScript regular expression; `js_parser` builds them, `blowup` walks them."""

import msgspec


class PatternSyntaxError(ValueError):
    """A pattern that JavaScript does not compile; the message is a predicate without a period ("has a lone ...")."""


class Text(msgspec.Struct, frozen=True, gc=False):
    """A run of literal characters."""

    text: str


class CharSet(msgspec.Struct, frozen=True, gc=False):
    """One character out of a set: ranges (both ends included) plus class letters d D w W s S (p: a property)."""

    negated: bool
    ranges: tuple[tuple[str, str], ...]
    classes: str


class Anchor(msgspec.Struct, frozen=True, gc=False):
    r"""A place, not a character: `^`, `$`, `b` for \b, `B` for \B."""

    kind: str


class BackReference(msgspec.Struct, frozen=True, gc=False):
    """The text that the capturing group with this number matched."""

    group: int


class Group(msgspec.Struct, frozen=True):
    """A parenthesised part; `capture` is its number, or 0 when it captures nothing."""

    body: "Node"
    capture: int


class LookAround(msgspec.Struct, frozen=True):
    """A look-ahead or look-behind."""

    body: "Node"
    behind: bool
    negative: bool


class Repeat(msgspec.Struct, frozen=True):
    """`body` from `low` to `high` times (None: without bound)."""

    body: "Node"
    low: int
    high: int | None
    greedy: bool


class Sequence(msgspec.Struct, frozen=True):
    """Parts one after the other."""

    items: tuple["Node", ...]


class Choice(msgspec.Struct, frozen=True):
    """Alternatives, tried from left to right."""

    options: tuple["Node", ...]


Node = Text | CharSet | Anchor | BackReference | Group | LookAround | Repeat | Sequence | Choice

EMPTY = Sequence(())
ANY = CharSet(True, (("\n", "\n"), ("\r", "\r"), ("\u2028", "\u2029")), "")
"""What `.` matches without the s flag."""
