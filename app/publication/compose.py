"""Which rules make the effective set: a pure decision over what every origin holds."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Ring = Literal["stable", "canary"]


@dataclass(frozen=True, slots=True)
class Member:
    """One rule in the set: its id, origin, the digest of its text, and who gets it."""

    rule_id: str
    origin: str
    digest: str
    ring: Ring = "stable"

    @property
    def source(self) -> str:
        """What the wire calls its provenance: `atr` for upstream's official rules, else `atr-community`.

        Seed 001 knows these two values only, so a rule that an admin wrote is not `atr` either.
        """
        return "atr" if self.origin.startswith("upstream:") else "atr-community"


def precedence(origin: str) -> int:
    """Who keeps an id that two origins hold: the admin, then upstream, then our own consensus."""
    if origin == "local":
        return 0
    return 1 if origin.startswith("upstream:") else 2


def compose(held: Iterable[Member]) -> tuple[Member, ...]:
    """The effective set in the order it is served, one rule an id.

    Local and community rules come first: newest Guards stop reading at 500 rules (measured, 1.9.0).
    """
    chosen: dict[str, Member] = {}
    for member in held:
        rival = chosen.get(member.rule_id)
        if rival is None or _rank(member) < _rank(rival):
            chosen[member.rule_id] = member
    return tuple(sorted(chosen.values(), key=_order))


def _rank(member: Member) -> tuple[int, str]:
    return precedence(member.origin), member.origin


def _order(member: Member) -> tuple[bool, str]:
    return member.origin.startswith("upstream:"), member.rule_id


def set_digest(members: Iterable[Member]) -> str:
    """SHA-256 (hex) that names the set: equal exactly when every id, origin, text and ring is equal."""
    lines = sorted(f"{m.rule_id}\t{m.origin}\t{m.digest}\t{m.ring}\n" for m in members)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one set to another, each a sorted tuple of rule ids."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    withdrawn: tuple[str, ...]


def difference(before: Iterable[Member], after: Iterable[Member]) -> Difference:
    """Compare two sets by rule id; a rule is changed when its text, origin or ring is another."""
    old = {member.rule_id: member for member in before}
    new = {member.rule_id: member for member in after}
    return Difference(
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(i for i in new.keys() & old.keys() if new[i] != old[i])),
        withdrawn=tuple(sorted(old.keys() - new.keys())),
    )
