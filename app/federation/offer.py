"""What an upstream offers, resolved: one text an id, and everything else set aside with its reason. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from app.federation.decide import TextRef
from app.federation.sources.collected import Item, SetAside

MAX_REASON = 300
"""Characters of a reason that are kept; texts of upstream can make it as long as they like."""

_ID_LINE = re.compile(
    r"""^["']?id["']?[ \t]*:[ \t]+["']?(?P<id>[A-Za-z0-9][A-Za-z0-9._-]{0,127})""", re.MULTILINE
)
_CUT = re.compile(r"[._-]")


@dataclass(frozen=True, slots=True)
class Offer:
    """Everything that an upstream offers at one moment, as far as it can be served.

    `kept` are ids that it still offers, but with a text that was set aside: their last good text stays.
    """

    rules: Mapping[str, TextRef]
    kept: frozenset[str]
    set_aside: tuple[SetAside, ...]


@dataclass(frozen=True, slots=True)
class AcceptedItem:
    """One item that is a rule, and the id in its text."""

    rule_id: str
    item: Item


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """One item that is no rule, why, and the id that its text states as far as it can be read."""

    item: Item
    reason: str
    stated_id: str | None


def resolve_offer(
    accepted: Iterable[AcceptedItem],
    rejected: Collection[RejectedItem],
    set_aside: Collection[SetAside],
    in_service: Collection[str],
    base: Mapping[str, TextRef],
) -> Offer:
    """Resolve which text each id gets.

    Two items with one id and text are one; else the one that upstream calls by the id wins, then the one published
    last, then the first by name. `set_aside` is what the source itself could not read. `base` is what was offered
    before, for an answer that brings only what changed since.
    """
    best: dict[str, AcceptedItem] = {}
    aside = [SetAside(a.rule_id, a.reason[:MAX_REASON]) for a in set_aside]
    for candidate in _by_precedence(accepted):
        winner = best.setdefault(candidate.rule_id, candidate)
        if winner.item.digest != candidate.item.digest:
            reason = f"{candidate.item.name} and {winner.item.name} have this id; only one can, the latter"
            aside.append(SetAside(candidate.rule_id, reason[:MAX_REASON]))
    kept = {rule_id for a in set_aside if (rule_id := meant_id(a.rule_id, None, in_service))}
    for item in rejected:
        rule_id = meant_id(item.item.name, item.stated_id, in_service)
        kept |= {rule_id} if rule_id else set()
        aside.append(SetAside(rule_id or item.stated_id or item.item.name, item.reason[:MAX_REASON]))
    rules = {**base, **{rule_id: TextRef(it.item.digest, it.item.source) for rule_id, it in best.items()}}
    return Offer(
        rules=rules,
        kept=frozenset(kept - rules.keys()),
        set_aside=tuple(sorted(aside, key=lambda a: (a.rule_id, a.reason))),
    )


def stated_id(text: str) -> str | None:
    """Return the id that a text states on a line of its own, however broken the rest is."""
    stated = _ID_LINE.search(text)
    return stated["id"] if stated else None


def meant_id(name: str, stated: str | None, in_service: Collection[str]) -> str | None:
    """Return which of the ids in service a text that is no rule was meant for; None when that is unknown.

    The id that it states decides, else what upstream calls it: the id, or a file whose name begins with it.
    """
    file = PurePosixPath(name.rpartition(":")[2]).name
    beginnings = [file[: cut.start()] for cut in reversed([*_CUT.finditer(file)])]
    return next((found for found in (stated, name, *beginnings) if found in in_service), None)


def _by_precedence(accepted: Iterable[AcceptedItem]) -> list[AcceptedItem]:
    by_name = sorted(accepted, key=lambda found: found.item.name)
    newest_first = sorted(by_name, key=lambda found: found.item.published_at, reverse=True)
    return sorted(newest_first, key=lambda found: found.item.name != found.rule_id)
