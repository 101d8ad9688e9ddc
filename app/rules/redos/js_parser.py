r"""Parse a regular expression as JavaScript does.

Guards and the ATR engine are JavaScript programs: `new RegExp(p, 'i')` decides whether a pattern exists at all, and
its engine backtracks. So this grammar, not Python's, says which patterns may be handed out, and its tree
says where a pattern can blow up (`blowup`). It is ECMAScript 2023 with Annex B, in unicode and non-unicode mode.
It refuses a little more than Node 20 does: `\p{...}` names outside a short list, group names beyond ASCII, and
groups nested deeper than `MAX_DEPTH`. Checked against Node 20 on the published and on generated patterns.
"""

import re

from app.rules.redos.js_set import ESCAPE, NAME, UNICODE_ESCAPE, legacy_digits, read_escape, read_set
from app.rules.redos.js_tree import (
    ANY,
    EMPTY,
    Anchor,
    BackReference,
    Choice,
    Group,
    LookAround,
    Node,
    PatternSyntaxError,
    Repeat,
    Sequence,
    Text,
)

MAX_DEPTH = 50
"""Deepest nesting of groups accepted (published: 4)."""


def _tokens(escape: str) -> re.Pattern[str]:
    """Return the tokens of a pattern whose escapes are `escape`."""
    return re.compile(
        rf"""
          (?P<text>[^\\^$.*+?()\[\]{{}}|]+)
        | (?P<escape>\\(?:{escape}|k<{NAME}>|.))
        | (?P<quantifier>[*+?]\??|\{{[0-9]+(?:,[0-9]*)?\}}\??)
        | (?P<open>\((?:\?(?:[:=!]|<[=!]|<{NAME}>))?)
        | (?P<close>\))
        | (?P<choice>\|)
        | (?P<set>\[(?:[^\]\\]|\\.)*\])
        | (?P<dot>\.)
        | (?P<anchor>[\^$])
        | (?P<brace>[{{}}\]])
        """,
        re.DOTALL | re.VERBOSE,
    )


_TOKEN = _tokens(ESCAPE)
_UNICODE_TOKEN = _tokens(UNICODE_ESCAPE)
_CAPTURING = re.compile(rf"\\.|\[(?:[^\]\\]|\\.)*\]|(?P<open>\((?!\?)|\(\?<(?P<name>{NAME})>)", re.DOTALL)
_MAX_REPEAT = 2**31 - 1


def wants_unicode(pattern: str) -> bool:
    r"""Return whether the ATR engine compiles the pattern with the u flag: it does when it sees `\u{` or `\p{`."""
    return "\\u{" in pattern or "\\p{" in pattern


def to_units(text: str) -> str:
    """Return the text as JavaScript sees it without the u flag: UTF-16 code units, one per character."""
    if text.isascii() or max(text) <= "\uffff":
        return text
    raw = text.encode("utf-16-le", "surrogatepass")
    return "".join(chr(raw[i] | raw[i + 1] << 8) for i in range(0, len(raw), 2))


def parse_js(pattern: str, *, unicode: bool) -> Node:
    """Return the pattern's tree; `unicode` stands for the u flag.

    Without it, characters in the tree are UTF-16 code units (see `to_units`). Raises `PatternSyntaxError` where
    `new RegExp` would throw.
    """
    return _Parser(pattern if unicode else to_units(pattern), unicode).parse()


class _Parser:
    """One pass over the tokens, with a stack of open groups instead of recursion."""

    def __init__(self, source: str, unicode: bool) -> None:
        self.source = source
        self.unicode = unicode
        self.items: list[Node] = []
        self.options: list[Node] = []
        self.open: list[tuple[str, int, list[Node], list[Node]]] = []
        self.captures = 0
        self.may_repeat = False  # whether the last item can take a quantifier
        self._group_names: list[str] | None = None

    def parse(self) -> Node:
        """Run through the source; see `parse_js`."""
        position = 0
        for part in (_UNICODE_TOKEN if self.unicode else _TOKEN).finditer(self.source):
            if part.start() != position:
                break
            position = part.end()
            kind = part.lastgroup
            if kind == "text":
                self._add(Text(part.group()))
            elif kind == "set":
                self._set(part.group())
            elif kind == "quantifier":
                self._quantify(part.group())
            elif kind == "escape":
                self._escape(part.group())
            elif kind == "open":
                self._open(part.group(), position)
            elif kind == "close":
                self._close()
            else:
                self._mark(part.group())
        if position != len(self.source):
            lone = self.source[position] == "\\"
            raise PatternSyntaxError("ends in a lone backslash" if lone else "has a '[' without its ']'")
        if self.open:
            raise PatternSyntaxError("has a '(' without its ')'")
        return self._choice()

    def _add(self, node: Node, *, may_repeat: bool = True) -> None:
        self.items.append(node)
        self.may_repeat = may_repeat

    def _set(self, part: str) -> None:
        if "\\k" in part and any(self._names()):
            raise PatternSyntaxError(
                "has \\k in a character set, which JavaScript refuses beside named groups"
            )
        self._add(read_set(part, unicode=self.unicode))

    def _mark(self, part: str) -> None:
        """Take one of the single characters with a meaning: `.`, `|`, `^`, `$`, or a bare brace or bracket."""
        if part == ".":
            self._add(ANY)
        elif part == "|":
            self.options.append(self._sequence())
            self.items = []
            self.may_repeat = False
        elif part in "^$":
            self._add(Anchor(part), may_repeat=False)
        elif self.unicode:
            raise PatternSyntaxError(f"has a bare '{part}', which JavaScript's unicode mode wants escaped")
        else:
            self._add(Text(part))

    def _sequence(self) -> Node:
        items = self.items
        return items[0] if len(items) == 1 else Sequence(tuple(items)) if items else EMPTY

    def _choice(self) -> Node:
        last = self._sequence()
        return Choice((*self.options, last)) if self.options else last

    def _open(self, part: str, end: int) -> None:
        if len(self.open) == MAX_DEPTH:
            raise PatternSyntaxError(f"nests groups deeper than {MAX_DEPTH}")
        if part == "(" and self.source.startswith("?", end):
            raise PatternSyntaxError(
                f"has the group '{self.source[end - 1 : end + 3]}', which JavaScript does not know"
            )
        capture = 0
        if part == "(" or part[-1] == ">":
            self.captures = capture = self.captures + 1
            if len(part) > 1 and self._names().count(part[3:-1]) > 1:
                raise PatternSyntaxError(f"names two groups '{part[3:-1]}'")
        self.open.append((part, capture, self.items, self.options))
        self.items, self.options = [], []
        self.may_repeat = False

    def _close(self) -> None:
        if not self.open:
            raise PatternSyntaxError("has a ')' without its '('")
        body = self._choice()
        part, capture, self.items, self.options = self.open.pop()
        if part in ("(?=", "(?!"):
            self._add(LookAround(body, behind=False, negative=part == "(?!"), may_repeat=not self.unicode)
        elif part in ("(?<=", "(?<!"):
            self._add(LookAround(body, behind=True, negative=part == "(?<!"), may_repeat=False)
        else:
            self._add(Group(body, capture))

    def _quantify(self, part: str) -> None:
        if not self.may_repeat:
            raise PatternSyntaxError(f"has a '{part}' with nothing to repeat")
        low, high = _bounds(part)
        last = self.items.pop()
        if isinstance(last, Text) and len(last.text) > 1:
            self.items.append(Text(last.text[:-1]))
            last = Text(last.text[-1])
        self._add(Repeat(last, low, high, greedy=part == "?" or part[-1] != "?"), may_repeat=False)

    def _escape(self, part: str) -> None:
        letter = part[1]
        if letter in "bB":
            self._add(Anchor(letter), may_repeat=False)
        elif letter == "k" and (self.unicode or any(self._names())):
            if part[3:-1] not in self._names() or len(part) == 2:
                raise PatternSyntaxError(f"has {part[:40]}, but no group of that name")
            self._add(BackReference(self._names().index(part[3:-1]) + 1))
        elif letter in "123456789":
            number = int(part[1:6])
            if number <= len(self._names()):
                self._add(BackReference(number))
            elif self.unicode:
                raise PatternSyntaxError(f"has {part[:8]}, but no such group")
            else:
                self._add(Text(legacy_digits(part[1:])))
        else:
            self._add(read_escape(part, unicode=self.unicode))

    def _names(self) -> list[str]:
        """Return the names of all capturing groups of the pattern, in order; '' for a group without one."""
        if self._group_names is None:
            groups = _CAPTURING.finditer(self.source)
            self._group_names = [found["name"] or "" for found in groups if found["open"]]
        return self._group_names


def _bounds(part: str) -> tuple[int, int | None]:
    """Read a quantifier."""
    if part[0] != "{":
        return int(part[0] == "+"), 1 if part[0] == "?" else None
    first, comma, second = part.rstrip("?")[1:-1].partition(",")
    low = _count(first)
    high = low if not comma else _count(second) if second else None
    if high is not None and high < low:
        raise PatternSyntaxError(f"has the range {part} with its numbers out of order")
    return low, high


def _count(digits: str) -> int:
    return min(int(digits), _MAX_REPEAT) if len(digits) <= 10 else _MAX_REPEAT
