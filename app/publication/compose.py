"""Which rules make the effective set: a pure decision over what every origin holds."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Ring = Literal["stable", "canary"]


@dataclass(frozen=True, slots=True)
class Member:
    """One rule in the set: its id, origin, the digest of its text, who gets it, and its provenance.

    `source` is what the wire calls that: `atr` for official rules, `atr-community` for those of a consensus, as
    the upstream said. The Partner Live Sync contract knows these two values only, so what an admin wrote is
    `atr-community`. Left empty, it follows from the origin: upstream's rules are official unless upstream said
    otherwise.
    """

    rule_id: str
    origin: str
    digest: str
    ring: Ring = "stable"
    source: str = ""

    def __post_init__(self) -> None:
        if not self.source:
            object.__setattr__(
                self, "source", "atr" if self.origin.startswith("upstream:") else "atr-community"
            )


DEFAULT_PRIORITY = 100
"""Priority of an upstream that does not say (`upstream.priority`)."""


def precedence(origin: str) -> int:
    """Who keeps an id that two origins hold: the admin, then upstream, then our own consensus."""
    if origin == "local":
        return 0
    return 1 if origin.startswith("upstream:") else 2


def compose(held: Iterable[Member], priorities: Mapping[str, int]) -> tuple[Member, ...]:
    """Return the effective set in the order it is served, one rule an id.

    Between upstreams the one with the higher of `priorities` (by origin, 100 where there is none) keeps an id.
    Local and community rules come first: newest Guards stop reading at 500 rules (measured, 1.9.0).
    """

    def rank(member: Member) -> tuple[int, int, str]:
        return precedence(member.origin), -priorities.get(member.origin, DEFAULT_PRIORITY), member.origin

    chosen: dict[str, Member] = {}
    for member in held:
        rival = chosen.get(member.rule_id)
        if rival is None or rank(member) < rank(rival):
            chosen[member.rule_id] = member
    return in_order(chosen.values())


def in_order(members: Iterable[Member]) -> tuple[Member, ...]:
    """Return a set with one rule an id, in the order it is served."""
    return tuple(sorted(members, key=_order))


def _order(member: Member) -> tuple[bool, str]:
    return member.origin.startswith("upstream:"), member.rule_id


def set_digest(members: Iterable[Member]) -> str:
    """SHA-256 (hex) that names the set: equal exactly when every id, origin, text, ring and source is equal."""
    lines = sorted(f"{m.rule_id}\t{m.origin}\t{m.digest}\t{m.ring}\t{m.source}\n" for m in members)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one set to another, each a sorted tuple of rule ids."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    withdrawn: tuple[str, ...]


def difference(before: Iterable[Member], after: Iterable[Member]) -> Difference:
    """Compare two sets by rule id; a rule is changed when anything else of it is another."""
    old = {member.rule_id: member for member in before}
    new = {member.rule_id: member for member in after}
    return Difference(
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(i for i in new.keys() & old.keys() if new[i] != old[i])),
        withdrawn=tuple(sorted(old.keys() - new.keys())),
    )
