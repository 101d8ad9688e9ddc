"""Make, declare and remove overlay entries, and recompute what they make of the rules that upstreams hold.

Call `recompute_overlay` in the same transaction as every change of entries, of upstreams' rules or of their filters.
"""

import functools
import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlite_utils import Database

from app.overlay import store
from app.overlay.errors import EntryRefused
from app.overlay.resolve import PARTNERS, DeclaredIn, OverlayAction, OverlayEntry, contradicts, resolve
from app.overlay.texts import Replacement
from app.rules.edit import with_severity
from app.rules.inspect import inspect_text
from app.rules.store import put_text, text_of
from app.rules.validate import Profile

_DECLARED = "The entry {} for {} is declared in the configuration ([[overlay]]); change it there and reload."


class OverlayDecision(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as it was asked for. `version` is a pin's; a `replace` without a replacement is unusable."""

    rule_id: str
    action: OverlayAction
    owner: str
    reason: str
    expires_at: str | None = None
    severity: str | None = None
    version: str | None = None
    replacement: Replacement | None = None


@dataclass(frozen=True, slots=True)
class DeclaredChanges:
    """The effect of a change of the configuration: rules by what happened to their entries."""

    made: tuple[str, ...]
    removed: tuple[str, ...]
    superseded: tuple[OverlayEntry, ...]
    """Entries made over the API that stood in the way of a configured one; they are gone."""

    def __bool__(self) -> bool:
        return bool(self.made or self.removed or self.superseded)


def add(db: Database, decision: OverlayDecision, at: str) -> OverlayEntry:
    """Make an entry over the API, in place of one that was made there for the same rule and action.

    Raise `EntryRefused` when the configuration has that one, when an entry in force contradicts this one, and for a
    pin when there is no such text.
    """
    of_this_rule = store.entries(db, decision.rule_id)
    old = next((e for e in of_this_rule if e.action == decision.action), None)
    if old is not None and old.declared == "config":
        raise EntryRefused(_DECLARED.format(old.action, old.rule_id))
    rival = contradicts(decision.action, of_this_rule, at)
    if rival is not None:
        where = "the configuration" if rival.declared == "config" else f"entry {rival.id}"
        raise EntryRefused(
            f"For {rival.rule_id} {where} says {rival.action}, which contradicts this; remove that first."
        )
    new = _entry(db, decision, None, "api", at)
    if not new.is_usable:
        raise EntryRefused(_nothing_to_pin(decision))
    if old is not None:
        store.delete(db, old.id)
    store.insert(db, new)
    return new


def remove(db: Database, entry_id: str) -> OverlayEntry:
    """Take an entry away; raise `UnknownEntry`, and `EntryRefused` for one that the configuration has."""
    old = store.entry(db, entry_id)
    if old.declared == "config":
        raise EntryRefused(_DECLARED.format(old.action, old.rule_id))
    store.delete(db, entry_id)
    return old


def declare(
    db: Database, decisions: Sequence[OverlayDecision], at: str, *, withdraw: bool
) -> DeclaredChanges:
    """Bring the configured entries to what the configuration says now; it wins over entries made over the API.

    An entry whose text and severity stay the same keeps its base and its age; so does a pin to a version that is
    not kept (any more). With `withdraw`, entries that are no longer configured are removed.
    """
    wanted = {(decision.rule_id, decision.action): decision for decision in decisions}
    in_force = {key for key, d in wanted.items() if d.expires_at is None or d.expires_at > at}
    known: dict[tuple[str, OverlayAction], OverlayEntry] = {}
    removed: list[str] = []
    superseded: list[OverlayEntry] = []
    for old in store.entries(db):
        key = (old.rule_id, old.action)
        if old.declared == "config":
            known[key] = old
            if withdraw and key not in wanted:
                store.delete(db, old.id)
                removed.append(old.rule_id)
        elif key in wanted or (
            (old.rule_id, PARTNERS.get(old.action)) in in_force and not old.has_expired(at)
        ):
            store.delete(db, old.id)
            superseded.append(old)
    made: list[str] = []
    for key, decision in wanted.items():
        before = known.get(key)
        new = _entry(db, decision, before, "config", at)
        if new != before:
            store.delete(db, new.id)
            store.insert(db, new)
            made.append(new.rule_id)
    return DeclaredChanges(tuple(made), tuple(removed), tuple(superseded))


def _entry(
    db: Database, decision: OverlayDecision, before: OverlayEntry | None, declared: DeclaredIn, at: str
) -> OverlayEntry:
    rows = store.upstream_rules(db, decision.rule_id)
    held = next((row.held.digest for row in rows if row.is_active), None)
    digest = _digest_of(db, decision, held)
    if decision.action == "pin" and before is not None and (digest is None or decision.version is None):
        digest = before.digest or digest  # versions are forgotten in time, what they were pinned to is not
    is_same = before is not None and (before.digest, before.severity) == (digest, decision.severity)
    return OverlayEntry(
        id=_config_id(decision) if declared == "config" else secrets.token_hex(8),
        rule_id=decision.rule_id,
        action=decision.action,
        severity=decision.severity,
        digest=digest,
        base=before.base if before is not None and is_same else held,
        owner=decision.owner,
        reason=decision.reason,
        created_at=before.created_at if before is not None and is_same else at,
        expires_at=decision.expires_at,
        declared=declared,
    )


def _config_id(decision: OverlayDecision) -> str:
    """Return the same id at every start, so that a link to the entry stays good."""
    return hashlib.sha256(f"{decision.rule_id} {decision.action}".encode()).hexdigest()[:16]


def _digest_of(db: Database, decision: OverlayDecision, held: str | None) -> str | None:
    if decision.action == "replace" and decision.replacement is not None:
        return put_text(db, decision.replacement.inspection, decision.replacement.text)
    if decision.action != "pin":
        return None
    if decision.version is None:
        return held
    return store.digest_in_version(db, decision.rule_id, decision.version)


def _nothing_to_pin(decision: OverlayDecision) -> str:
    if decision.version is None:
        return f"No upstream has {decision.rule_id} in service, so there is no text to pin."
    return f"No kept upstream version {decision.version!r} has {decision.rule_id}."


def recompute_overlay(db: Database, at: str) -> bool:
    """Recompute what entries make of upstreams' rules at this instant; return True when that changed.

    Call it in the transaction that changes entries, upstreams' rules or their filters. An entry made before any
    upstream had its rule gets its base here. Only texts that get another severity are parsed, 2 ms each and once in
    the life of the process (measured on the 785 published rules; after that 500 of them take 20 ms).
    """
    by_rule: dict[str, list[OverlayEntry]] = {}
    for one in store.entries(db):
        by_rule.setdefault(one.rule_id, []).append(one)
    rows = store.upstream_rules(db)
    _set_bases(db, by_rule, rows)
    own = store.severities(
        db, [*(r.held.digest for r in rows), *(e.digest for es in by_rule.values() for e in es)]
    )
    wanted: dict[tuple[str, str], tuple[int, str | None]] = {}
    for row in rows:
        of_this_rule = by_rule[row.rule_id]
        if any(e.action == "disable" and e.is_in_force(at) for e in of_this_rule):
            # In any state: a rollback may serve what upstream has dropped since, but not what we disabled.
            wanted[row.origin, row.rule_id] = (0, None)
        elif row.is_active:
            effect = resolve(of_this_rule, row.held, own, at)
            if effect != resolve((), row.held, own, at):
                digest = effect.digest
                if effect.severity is not None:
                    digest = _put_with_severity(db, digest, effect.severity)
                wanted[row.origin, row.rule_id] = (1, digest if digest != row.held.digest else None)
    return store.replace_overlaid(db, wanted)


def _set_bases(
    db: Database, by_rule: Mapping[str, Sequence[OverlayEntry]], rows: Iterable[store.UpstreamRuleRow]
) -> None:
    done: set[str] = set()
    for row in rows:
        if row.is_active and row.rule_id not in done:
            done.add(row.rule_id)
            if any(e.base is None for e in by_rule[row.rule_id]):
                store.set_missing_bases(db, row.rule_id, row.held.digest)


def _put_with_severity(db: Database, digest: str, severity: str) -> str:
    """Keep a text with another severity; return its digest."""
    known = _derived(digest, severity)
    if known and text_of(db, known[0]) is not None:
        return known[0]
    text = text_of(db, digest)
    assert text is not None  # noqa: S101 (rows refer to kept texts only)
    derived = with_severity(text, severity)
    known[:] = [put_text(db, inspect_text(derived, profile=Profile.PUBLISHED), derived)]
    return known[0]


@functools.lru_cache(maxsize=10_000)
def _derived(digest: str, severity: str) -> list[str]:  # noqa: ARG001 (the key)
    """Return the list that remembers the digest of this text with this severity, which is always the same."""
    return []
