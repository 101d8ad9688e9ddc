"""The organisation's own decisions on top of upstream's rules: what they do together, as pure functions.

Entries stand apart from upstream's texts and name a rule by its id, so an update never overwrites them and they
hold for whichever upstream has the rule. An entry without effect is reported as idle and does no harm.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

OverlayAction = Literal["disable", "enable", "pin", "severity", "replace"]
DeclaredIn = Literal["config", "api"]
OverlayState = Literal["active", "expired", "idle", "unusable"]

PARTNERS: Mapping[OverlayAction, OverlayAction] = {
    "disable": "enable",
    "enable": "disable",
    "pin": "replace",
    "replace": "pin",
}
"""Actions that contradict each other on one rule; a severity goes with any of the others."""


class OverlayEntry(msgspec.Struct, frozen=True):
    """One decision. `digest` names the text that a pin or a replacement serves, None while there is none.

    `base` is the text that upstream had when the entry was made, or first had since; instants are texts.
    """

    id: str
    rule_id: str
    action: OverlayAction
    severity: str | None
    digest: str | None
    base: str | None
    owner: str
    reason: str
    created_at: str
    expires_at: str | None
    declared: DeclaredIn

    @property
    def is_usable(self) -> bool:
        """False for a pin or a replacement without a text."""
        return self.digest is not None or self.action not in {"pin", "replace"}

    def is_in_force(self, at: str) -> bool:
        """Return True when it counts at this instant; it ends when `expires_at` comes."""
        return self.is_usable and not self.has_expired(at)

    def has_expired(self, at: str) -> bool:
        """Return True when its time is over."""
        return self.expires_at is not None and self.expires_at <= at


@dataclass(frozen=True, slots=True)
class UpstreamRule:
    """A rule that one upstream has in service here; `is_excluded` says that the upstream's filter keeps it out."""

    digest: str
    is_excluded: bool = False


@dataclass(frozen=True, slots=True)
class OverlayEffect:
    """The effect on an upstream's rule: whether it is served, its text, and the severity put into that text."""

    served: bool
    digest: str
    severity: str | None = None


def resolve(
    entries: Iterable[OverlayEntry], held: UpstreamRule, severities: Mapping[str, str], at: str
) -> OverlayEffect:
    """Return the effect of one rule's entries on it; `severities` has the severity that each text states.

    A rule that is not served keeps its text, and a severity that the text has already changes nothing.
    """
    in_force = {entry.action: entry for entry in entries if entry.is_in_force(at)}
    if "disable" in in_force or (held.is_excluded and "enable" not in in_force):
        return OverlayEffect(False, held.digest)
    text = in_force.get("replace") or in_force.get("pin")
    digest = text.digest if text is not None and text.digest is not None else held.digest
    entry = in_force.get("severity")
    severity = entry.severity if entry is not None else None
    return OverlayEffect(True, digest, severity if severity != severities.get(digest) else None)


def state_of(
    entry: OverlayEntry,
    entries: Sequence[OverlayEntry],
    held: Sequence[UpstreamRule],
    severities: Mapping[str, str],
    at: str,
) -> OverlayState:
    """Return the state of one of a rule's `entries`; `held` is the rule in every upstream that has it.

    `idle`: no upstream has the rule now, or the entry changes nothing. A pin is active while its rule is served,
    also when upstream's text is still the pinned one.
    """
    if entry.has_expired(at):
        return "expired"
    if not entry.is_usable:
        return "unusable" if held or entry.action == "replace" else "idle"
    others = [other for other in entries if other.id != entry.id]
    for rule in held:
        effect = resolve(entries, rule, severities, at)
        if effect != resolve(others, rule, severities, at) or (entry.action == "pin" and effect.served):
            return "active"
    return "idle"


def base_moved(entry: OverlayEntry, held: Sequence[UpstreamRule]) -> bool:
    """Return True when upstream changed the rule since the entry was made; `held` is by descending priority."""
    return bool(held) and entry.base is not None and entry.base != held[0].digest


def contradicts(action: OverlayAction, entries: Iterable[OverlayEntry], at: str) -> OverlayEntry | None:
    """Return the entry in force, on the same rule, that contradicts a new one with this action."""
    partner = PARTNERS.get(action)
    return next((e for e in entries if e.action == partner and not e.has_expired(at)), None)
