"""The decision core: which changes of an upstream are applied, and which are held for an admin. Pure.

A policy says what an upstream may do by itself, and three guards stop what looks like an accident or an attack,
whatever the policy is:

- `empty`: nothing is offered any more, though rules are in service;
- `shrink`: more rules would be withdrawn than `max_withdrawn_percent` of those in service;
- `churn`: more texts would be changed than `max_changed_percent` of those in service.

A guard holds the whole pull, so that what is served is never half of one state and half of another. Each pull is
judged by itself, so a plausible answer after an implausible one clears what was held. While nothing is in service
there is nothing to guard. What an admin rejected is neither applied nor held again, nor counted by the guards.

`excluded_because` says which of an upstream's rules the configuration's filters keep out of the served set, and why.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple, TypeVar

from app.federation.sources.collected import Source
from app.federation.upstream import Filter, Policy, UpstreamBase

T = TypeVar("T")
ChangeKind = Literal["added", "changed", "withdrawn"]
PendingReason = Literal["review", "empty", "shrink", "churn"]

GUARDED: Mapping[str, ChangeKind] = {"empty": "withdrawn", "shrink": "withdrawn", "churn": "changed"}
"""Which changes each guard is about; the others of a pull are held only to keep it whole."""


class TextRef(NamedTuple):
    """The text that an upstream offers, or an instance serves, under an id: its SHA-256 (hex) and its provenance."""

    digest: str
    source: Source


@dataclass(frozen=True, slots=True)
class Change:
    """One rule that is to change; `text` is the new one, None for a withdrawal."""

    rule_id: str
    kind: ChangeKind
    text: TextRef | None

    @property
    def identity(self) -> tuple[ChangeKind, str | None]:
        """Kind and digest; equal for the same change seen again."""
        return self.kind, self.text.digest if self.text else None


SeenChanges = Mapping[str, tuple[ChangeKind, str | None]]
"""`rule_id -> identity` of changes seen before: rejected by an admin, or stopped by a guard."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an upstream may change by itself."""

    policy: Policy
    max_withdrawn_percent: int
    max_changed_percent: int


@dataclass(frozen=True, slots=True)
class PullDecision:
    """What to apply and what to hold; `reasons` says why something new is held, in a fixed order.

    Without reasons, `held` has only what a guard stopped earlier; with reasons, nothing is applied.
    """

    apply: tuple[Change, ...] = ()
    held: tuple[Change, ...] = ()
    reasons: tuple[PendingReason, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangedIds:
    """Rule ids by what happens to them, each sorted."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    withdrawn: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.withdrawn)


def limits_of(upstream: UpstreamBase) -> Limits:
    """Return what the configuration lets this upstream change by itself."""
    return Limits(upstream.policy, upstream.max_withdrawn_percent, upstream.max_changed_percent)


def decide(
    in_service: Mapping[str, TextRef],
    offered: Mapping[str, TextRef],
    kept: Collection[str],
    limits: Limits,
    rejected: SeenChanges,
    guarded: SeenChanges,
) -> PullDecision:
    """Decide on what an upstream offers, compared with what is in service from it.

    `kept` are ids whose offered text was set aside: what is in service under them stays. `guarded` are the held
    changes that a guard stopped.
    """
    last_good = {rule_id: in_service[rule_id] for rule_id in kept if rule_id in in_service}
    changes = [
        change
        for change in _changes(in_service, {**last_good, **offered}, limits.policy)
        if rejected.get(change.rule_id) != change.identity
    ]
    if not changes:
        return PullDecision()
    reasons = tuple(_reasons(len(in_service), not offered, changes, limits))
    if reasons:
        return PullDecision(held=tuple(changes), reasons=reasons)
    waiting = [change for change in changes if guarded.get(change.rule_id) == change.identity]
    return PullDecision(apply=tuple(c for c in changes if c not in waiting), held=tuple(waiting))


def reconcile(served: Mapping[str, T], offered: Mapping[str, T]) -> ChangedIds:
    """Compare `rule_id -> what is served` with `rule_id -> what is offered`, by equality.

    The comparison is by content, never by a date: the public server restamps every rule at each restart.
    """
    return ChangedIds(
        added=tuple(sorted(offered.keys() - served.keys())),
        changed=tuple(sorted(i for i in offered.keys() & served.keys() if offered[i] != served[i])),
        withdrawn=tuple(sorted(served.keys() - offered.keys())),
    )


def _changes(
    in_service: Mapping[str, TextRef], wanted: Mapping[str, TextRef], policy: Policy
) -> Iterable[Change]:
    found = reconcile(in_service, wanted)
    yield from (Change(rule_id, "added", wanted[rule_id]) for rule_id in found.added)
    yield from (Change(rule_id, "changed", wanted[rule_id]) for rule_id in found.changed)
    if policy != "additive":
        yield from (Change(rule_id, "withdrawn", None) for rule_id in found.withdrawn)


def _reasons(
    in_service: int, offers_nothing: bool, changes: Collection[Change], limits: Limits
) -> Iterable[PendingReason]:
    if limits.policy == "review":
        yield "review"
    if not in_service:
        return
    if offers_nothing:
        yield "empty"
    if _count(changes, "withdrawn") * 100 > limits.max_withdrawn_percent * in_service:
        yield "shrink"
    if _count(changes, "changed") * 100 > limits.max_changed_percent * in_service:
        yield "churn"


def _count(changes: Collection[Change], kind: ChangeKind) -> int:
    return sum(change.kind == kind for change in changes)


class Traits(NamedTuple):
    """What filters can look at; a value that a rule does not give is the empty string."""

    rule_id: str
    category: str
    severity: str
    status: str
    maturity: str


def has_filters(upstream: UpstreamBase) -> bool:
    """Return True when something is configured that could keep a rule out."""
    return upstream.include != Filter() or upstream.exclude is not None


def excluded_because(upstream: UpstreamBase, rule: Traits) -> str | None:
    """Say in a few words what keeps a rule out, or None when it may be served.

    A rule must match every field of `include` that is given, and must not match every given field of `exclude`; an
    `exclude` without any field matches nothing.
    """
    for name, words, value in _fields(upstream.include, rule):
        if not _matches(name, words, value):
            return f"include: its {name} is {value or 'not given'}"
    fields = list(_fields(upstream.exclude, rule)) if upstream.exclude else []
    if fields and all(_matches(*field) for field in fields):
        return "exclude: " + ", ".join(f"its {name} is {value or 'not given'}" for name, _, value in fields)
    return None


def _fields(wanted: Filter, rule: Traits) -> Iterable[tuple[str, tuple[str, ...], str]]:
    """Return `(field, accepted values, the rule's value)` of each field that the filter names."""
    pairs = (
        ("category", wanted.category, rule.category),
        ("severity", wanted.severity, rule.severity),
        ("status", wanted.status, rule.status),
        ("maturity", wanted.maturity, rule.maturity),
        ("id", wanted.id, rule.rule_id),
    )
    return (pair for pair in pairs if pair[1])


def _matches(name: str, words: tuple[str, ...], value: str) -> bool:
    if name == "id":
        return any(fnmatchcase(value, pattern) for pattern in words)
    return value in words
