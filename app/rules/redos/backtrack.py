"""A backtracking matcher that counts its steps: what a pattern costs in JavaScript, without running JavaScript.

V8 backtracks without memoising, so the number of steps of a plain backtracking matcher says how a Guard's time grows.
Counting steps instead of seconds gives the same verdict on every machine, cannot hang, and needs no second engine:
neither Python engine is a fair stand-in (`regex` is quick on a pattern that takes V8 16 s; `re` is quicker than
`regex` on others).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from app.rules.redos.js_tree import (
    Anchor,
    BackReference,
    CharSet,
    Choice,
    Group,
    LookAround,
    Node,
    Repeat,
    Sequence,
    Text,
)

_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_SPACE = frozenset("\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff") | {
    chr(c) for c in range(0x2000, 0x200B)
}
_CLASS: dict[str, Callable[[str], bool]] = {
    "d": lambda char: "0" <= char <= "9",
    "D": lambda char: not "0" <= char <= "9",
    "w": _WORD.__contains__,
    "W": lambda char: char not in _WORD,
    "s": _SPACE.__contains__,
    "S": lambda char: char not in _SPACE,
    "p": str.isalpha,
}

_MATCH, _TEXT, _SPAN, _FORK, _LOOP, _ENTER, _ANCHOR, _LOOK, _OPEN, _SHUT, _BACK = range(11)

# An instruction is a list [op, next, ...]; a loop's body leads back to it, so it is filled in after it is made.
_Code = list[Any]
_Loops = tuple[int, int, Any] | None  # (times round, where this round began, outer loops)


class StepLimitError(Exception):
    """The search was given up: it needed more steps than allowed."""


@lru_cache(maxsize=65_536)
def holds(part: CharSet, char: str) -> bool:
    """Return whether the set holds the character, case ignored."""
    forms = {char, char.lower(), char.upper()}
    inside = any(low <= form <= high for form in forms for low, high in part.ranges) or any(
        _CLASS[letter](form) for letter in part.classes for form in forms
    )
    return inside != part.negated


class Matcher:
    """A pattern's tree made ready to search texts, case ignored, counting steps."""

    def __init__(self, tree: Node) -> None:
        self._referenced: set[int] = set()
        self._note_references(tree)
        self._code = self._compile(tree, [_MATCH])
        self._left = 0

    def steps(self, text: str, limit: int) -> int:
        """Return the steps an unanchored search of `text` (in lower case) takes; `limit` + 1 if it takes more."""
        try:
            self.matches(text, limit)
        except StepLimitError:
            return limit + 1
        return limit - self._left

    def matches(self, text: str, limit: int) -> bool:
        """Return whether the pattern matches anywhere in `text` (in lower case); raises `StepLimitError`."""
        self._left = limit
        return any(self._run(self._code, text, start, None) is not None for start in range(len(text) + 1))

    def _note_references(self, node: Node) -> None:
        if isinstance(node, BackReference):
            self._referenced.add(node.group)
        for child in children(node):
            self._note_references(child)

    def _compile(self, node: Node, then: _Code) -> _Code:  # noqa: PLR0911 - one return per kind of node
        """Return code that matches `node` and goes on with `then`."""
        if isinstance(node, Text):
            lowered = node.text.lower()
            return [_TEXT, then, lowered, len(lowered)]
        if isinstance(node, CharSet):
            return [_SPAN, then, _single(node), 1, 1, True]
        if isinstance(node, Anchor):
            return [_ANCHOR, then, node.kind]
        if isinstance(node, BackReference):
            return [_BACK, then, node.group]
        if isinstance(node, LookAround):
            return [_LOOK, then, self._compile(node.body, [_MATCH]), node.behind, node.negative]
        if isinstance(node, Sequence):
            for item in reversed(node.items):
                then = self._compile(item, then)
            return then
        if isinstance(node, Choice):
            return [_FORK, None, [self._compile(option, then) for option in node.options]]
        if isinstance(node, Group):
            if node.capture not in self._referenced:
                return self._compile(node.body, then)
            return [_OPEN, self._compile(node.body, [_SHUT, then, node.capture]), node.capture]
        body = node.body
        if isinstance(body, CharSet) or (isinstance(body, Text) and len(body.text.lower()) == 1):
            return [_SPAN, then, _single(body), node.low, node.high, node.greedy]
        loop: _Code = [_LOOP, then, None, node.low, node.high, node.greedy]
        loop[2] = self._compile(body, loop)
        return [_ENTER, loop]

    def _run(  # noqa: C901, PLR0912, PLR0915 - one loop, one branch per instruction
        self, code: _Code, text: str, pos: int, must_end: int | None
    ) -> int | None:
        """Match at `pos`; return where the match ends (only `must_end`, if given), or None."""
        loops: _Loops = None
        groups: dict[int, tuple[int, int]] = {}
        size = len(text)
        stack: list[tuple[_Code, int, _Loops, dict[int, tuple[int, int]]]] = []
        while True:
            self._left -= 1
            if self._left < 0:
                raise StepLimitError
            op = code[0]
            ok = True
            if op == _TEXT:
                ok = text.startswith(code[2], pos)
                pos += code[3]
                code = code[1]
            elif op == _SPAN:
                _, then, holds_char, low, high, greedy = code
                end = pos
                last = size if high is None else min(size, pos + high)
                while end < last and holds_char(text[end]):
                    end += 1
                ok = end - pos >= low
                if ok:
                    self._left -= (end - pos) // 4  # cheaper than instructions, but not free
                    first = pos + low
                    code = then
                    if greedy:
                        stack.extend([(then, at, loops, groups) for at in range(first, end)])
                        pos = end
                    else:
                        stack.extend([(then, at, loops, groups) for at in range(end, first, -1)])
                        pos = first
            elif op == _FORK:
                options = code[2]
                stack.extend([(option, pos, loops, groups) for option in options[:0:-1]])
                code = options[0]
            elif op == _ENTER:
                loops = (0, -1, loops)
                code = code[1]
            elif op == _LOOP:
                count, began, outer = loops  # type: ignore[misc]
                _, then, body, low, high, greedy = code
                more = high is None or count < high
                done = count >= low
                again: _Loops = (count + 1, pos, outer)
                if began == pos and count > low:
                    ok = False  # JavaScript refuses a round that matched nothing
                elif more and done:
                    if greedy:
                        stack.append((then, pos, outer, groups))
                        code, loops = body, again
                    else:
                        stack.append((body, pos, again, groups))
                        code, loops = then, outer
                elif more:
                    code, loops = body, again
                else:
                    code, loops = then, outer
            elif op == _ANCHOR:
                ok = _holds_at(code[2], text, pos)
                code = code[1]
            elif op == _LOOK:
                ok = self._look(code[2], text, pos, code[3]) != code[4]
                code = code[1]
            elif op == _OPEN:
                groups = {**groups, -code[2]: (pos, pos)}
                code = code[1]
            elif op == _SHUT:
                groups = {**groups, code[2]: (groups[-code[2]][0], pos)}
                code = code[1]
            elif op == _BACK:
                begin, end = groups.get(code[2], (pos, pos))
                ok = text.startswith(text[begin:end], pos)
                pos += end - begin
                code = code[1]
            elif must_end is None or pos == must_end:
                return pos
            else:
                ok = False
            if not ok:
                if not stack:
                    return None
                code, pos, loops, groups = stack.pop()

    def _look(self, code: _Code, text: str, pos: int, behind: bool) -> bool:
        """Return whether the look-around's body matches at (or, behind, up to) `pos`."""
        if not behind:
            return self._run(code, text, pos, None) is not None
        return any(self._run(code, text, start, pos) is not None for start in range(pos, -1, -1))


def children(node: Node) -> tuple[Node, ...]:
    """Return the parts directly inside a node."""
    if isinstance(node, Sequence):
        return node.items
    if isinstance(node, Choice):
        return node.options
    if isinstance(node, Repeat | Group | LookAround):
        return (node.body,)
    return ()


def _single(part: CharSet | Text) -> Callable[[str], bool]:
    """Return the test for one character, remembering what it has seen."""
    seen: dict[str, bool] = {}

    def test(char: str) -> bool:
        found = seen.get(char)
        if found is None:
            found = seen[char] = holds(part, char) if isinstance(part, CharSet) else char == part.text.lower()
        return found

    return test


def _holds_at(kind: str, text: str, pos: int) -> bool:
    if kind == "^":
        return pos == 0
    if kind == "$":
        return pos == len(text)
    before = pos > 0 and text[pos - 1] in _WORD
    after = pos < len(text) and text[pos] in _WORD
    return (before != after) == (kind == "b")
