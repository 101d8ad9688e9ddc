"""The decision core: which changes of an upstream are applied, and which are held for an admin. Pure.

A policy says what an upstream may do by itself, and three guards stop what looks like an accident or an attack,
whatever the policy is:

- `empty`: nothing is offered any more, though rules are in service;
- `shrink`: more rules would be withdrawn than `max_withdrawn_percent` of those in service;
- `churn`: more texts would be changed than `max_changed_percent` of those in service.

A guard holds the whole pull, so that what is served is never half of one state and half of another. Each pull is
judged anew, so a sane answer after a mad one clears what was held. While nothing is in service there is nothing to
guard. What an admin refused is neither applied nor held again, and does not count for the guards.

What leads from one set of rules to another: a pure comparison by rule id.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from app.federation.sources.collected import Source
from app.federation.upstream import Policy

ChangeKind = Literal["added", "changed", "withdrawn"]
PendingReason = Literal["review", "empty", "shrink", "churn"]

STOPPED: Mapping[str, ChangeKind] = {"empty": "withdrawn", "shrink": "withdrawn", "churn": "changed"}
"""Which changes each guard is about; the others of a pull are held only to keep it whole."""


class Text(NamedTuple):
    """What an upstream offers, or an instance holds, under an id: the text's SHA-256 (hex) and its provenance."""

    digest: str
    source: Source


@dataclass(frozen=True, slots=True)
class Change:
    """One rule that is to change; `text` is the new one, None for a withdrawal."""

    rule_id: str
    kind: ChangeKind
    text: Text | None

    @property
    def mark(self) -> tuple[ChangeKind, str | None]:
        """What it is known again by."""
        return self.kind, self.text.digest if self.text else None


Known = Mapping[str, tuple[ChangeKind, str | None]]
"""`rule_id -> (change, digest)` of changes that were met before: refused by an admin, or stopped by a guard."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an upstream may change by itself."""

    policy: Policy
    max_withdrawn_percent: int
    max_changed_percent: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What to apply and what to hold; `reasons` says why something new is held, in a fixed order.

    Without reasons, `held` has only what a guard stopped earlier; with reasons, nothing is applied.
    """

    apply: tuple[Change, ...] = ()
    held: tuple[Change, ...] = ()
    reasons: tuple[PendingReason, ...] = ()


def decide(
    in_service: Mapping[str, Text],
    offered: Mapping[str, Text],
    kept: Collection[str],
    terms: Terms,
    refused: Known,
    stopped: Known,
) -> Decision:
    """Decide on what an upstream offers, compared with what is in service from it.

    `kept` are ids whose offered text was set aside: what is in service under them stays. `stopped` are the held
    changes that a guard was about.
    """
    last_good = {rule_id: in_service[rule_id] for rule_id in kept if rule_id in in_service}
    changes = [
        change
        for change in _changes(in_service, {**last_good, **offered}, terms.policy)
        if refused.get(change.rule_id) != change.mark
    ]
    if not changes:
        return Decision()
    reasons = tuple(_reasons(len(in_service), not offered, changes, terms))
    if reasons:
        return Decision(held=tuple(changes), reasons=reasons)
    waiting = [change for change in changes if stopped.get(change.rule_id) == change.mark]
    return Decision(apply=tuple(c for c in changes if c not in waiting), held=tuple(waiting))


def _changes(in_service: Mapping[str, Text], wanted: Mapping[str, Text], policy: Policy) -> Iterable[Change]:
    found = reconcile(in_service, wanted)
    yield from (Change(rule_id, "added", wanted[rule_id]) for rule_id in found.added)
    yield from (Change(rule_id, "changed", wanted[rule_id]) for rule_id in found.changed)
    if policy != "additive":
        yield from (Change(rule_id, "withdrawn", None) for rule_id in found.withdrawn)


def _reasons(
    in_service: int, offers_nothing: bool, changes: Collection[Change], terms: Terms
) -> Iterable[PendingReason]:
    if terms.policy == "review":
        yield "review"
    if not in_service:
        return
    if offers_nothing:
        yield "empty"
    if _count(changes, "withdrawn") * 100 > terms.max_withdrawn_percent * in_service:
        yield "shrink"
    if _count(changes, "changed") * 100 > terms.max_changed_percent * in_service:
        yield "churn"


def _count(changes: Collection[Change], kind: ChangeKind) -> int:
    return sum(change.kind == kind for change in changes)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Changes:
    """Rule ids by what happens to them, each sorted."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    withdrawn: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.withdrawn)


def reconcile(held: Mapping[str, T], offered: Mapping[str, T]) -> Changes:
    """Compare `rule_id -> what is held` with `rule_id -> what is offered`, by equality.

    That is by content, never by a date: the public server restamps every rule at each restart.
    """
    return Changes(
        added=tuple(sorted(offered.keys() - held.keys())),
        changed=tuple(sorted(i for i in offered.keys() & held.keys() if offered[i] != held[i])),
        withdrawn=tuple(sorted(held.keys() - offered.keys())),
    )
