"""Make texts on which a pattern may backtrack for long: a lead-up, something repeated, an end that fails."""

from collections.abc import Iterator
from itertools import islice
from typing import TypeGuard

import msgspec

from app.rules.redos.backtrack import children, holds
from app.rules.redos.js_tree import Anchor, CharSet, Choice, LookAround, Node, Repeat, Sequence, Text

FAILING_END = "\x01\n\x01"
r"""Fails almost everything: neither \w nor \s, and `.`, `[^...]` and `\S` do not run past it."""

_FAVOURITES = "a 0_-./<:=\"'\n,;@#\t"
_MAX_LEAD = 300
_MAX_PUMP = 60
_MAX_PUMPS = 4
_MAX_PARTS = 12
_MAX_COPIES = 160
_WORTH_REPEATING = 4
_MANY_OPTIONAL = 10


class Attack(msgspec.Struct, frozen=True):
    """Texts of the form `lead + pump * n + end`."""

    lead: str
    pump: str

    def text(self, rounds: int, end: str) -> str:
        """Return the text with `rounds` copies of the pump."""
        return self.lead + self.pump * rounds + end


def attacks(tree: Node) -> tuple[Attack, ...]:
    """Return one attack per repetition in the tree and per guess at what it repeats, outer ones first."""
    return tuple(attack for attack in dict.fromkeys(_walk(tree, "")) if attack.pump)


def ends(tree: Node) -> tuple[str, ...]:
    """Return the ends to try, "" last: failing; what look-aheads ask for, then failing; what `[^...]` refuses."""
    nodes = tuple(_all(tree))
    asked = "".join(
        example(node.body)
        for node in nodes
        if isinstance(node, LookAround) and not (node.behind or node.negative)
    )
    tails = [FAILING_END, asked + FAILING_END]
    if any(isinstance(node, Anchor | LookAround) for node in nodes):  # ^[^x]+$ only fails on an x
        refused = (
            low for node in nodes if isinstance(node, CharSet) and node.negated for low, _ in node.ranges
        )
        tails.append(FAILING_END + "".join(dict.fromkeys(refused))[:8])
    return (*dict.fromkeys(tails), "")


def example(node: Node, *, rich: bool = False) -> str:
    """Return a short text the node matches (backreferences and most anchors aside); `rich` takes optional parts."""
    if isinstance(node, Text):
        return node.text.lower()
    if isinstance(node, CharSet):
        return _member(node)
    if isinstance(node, Repeat):
        copies = max(node.low, int(rich))
        once = example(node.body, rich=rich) if copies else ""
        return once * min(copies, max(1, _MAX_COPIES // max(1, len(once))))
    if isinstance(node, LookAround):
        return example(node.body, rich=rich) if node.behind and not node.negative else ""
    if isinstance(node, Choice):
        options = [example(option, rich=rich) for option in node.options]
        return options[0] if rich else min(options, key=len)
    return "".join(example(child, rich=rich) for child in children(node))


def _walk(node: Node, lead: str) -> Iterator[Attack]:
    if len(lead) > _MAX_LEAD:
        return
    if isinstance(node, Repeat) and (node.high is None or node.high >= _WORTH_REPEATING):
        for pump in _pumps(node.body):
            yield Attack(lead, pump)
    if isinstance(node, Sequence):
        optional = [item for item in node.items if isinstance(item, Repeat) and item.low == 0]
        for item in node.items:
            if len(optional) >= _MANY_OPTIONAL and item is optional[0]:  # a?a?a?...aaa
                yield Attack(lead, example(item, rich=True)[:_MAX_PUMP])
            yield from _walk(item, lead)
            lead += example(item)
    else:
        for child in children(node):
            yield from _walk(child, lead)


def _pumps(body: Node) -> list[str]:
    """Guess what to repeat: examples of the body, the character most of its parts accept, and each part's own."""
    guesses = [example(body), example(body, rich=True)]
    parts = list(islice((node for node in _all(body) if _is_one_character(node)), _MAX_PARTS))
    if len(parts) > 1:
        pool = dict.fromkeys([*map(_member, parts), *(edge for part in parts for edge in _edges(part))])
        guesses.append(max(pool, key=lambda char: sum(_accepts(part, char) for part in parts)))
        guesses += map(_member, parts)
    return [guess for guess in dict.fromkeys(guesses) if 0 < len(guess) <= _MAX_PUMP][:_MAX_PUMPS]


def _is_one_character(node: Node) -> TypeGuard[Text | CharSet]:
    return isinstance(node, CharSet) or (isinstance(node, Text) and len(node.text) == 1)


def _member(part: Text | CharSet) -> str:
    """Return a character the part accepts."""
    if isinstance(part, Text):
        return part.text.lower()
    for char in _FAVOURITES:
        if holds(part, char):
            return char
    return part.ranges[0][0].lower() if part.ranges and not part.negated else "é"


def _edges(part: Text | CharSet) -> Iterator[str]:
    if isinstance(part, CharSet):
        for low, high in part.ranges[:4]:
            yield low.lower()
            yield high.lower()


def _accepts(part: Text | CharSet, char: str) -> bool:
    return holds(part, char) if isinstance(part, CharSet) else part.text.lower() == char


def _all(node: Node) -> Iterator[Node]:
    yield node
    for child in children(node):
        yield from _all(child)
