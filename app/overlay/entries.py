"""The SQL that makes, declares and removes overlay entries; `store.settle` puts them into effect."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlite_utils import Database

from app.federation.errors import EntryRefused
from app.overlay.resolve import PARTNERS, Declared, OverlayAction, OverlayEntry, contradicts
from app.overlay.store import COLUMNS, entries, entry, upstream_rules
from app.rules.inspect import Inspection
from app.rules.store import put_text

_DECLARED = "The entry {} for {} is declared in the configuration ([[overlay]]); change it there and reload."


class Replacement(msgspec.Struct, frozen=True):
    """A text of one's own that was inspected and has no problem."""

    text: str
    inspection: Inspection


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
    """What a change of the configuration did: rules by what happened to their entries."""

    made: tuple[str, ...]
    removed: tuple[str, ...]
    superseded: tuple[OverlayEntry, ...]
    """Entries made over the API that stood in the way of a configured one; they are gone."""

    def __bool__(self) -> bool:
        return bool(self.made or self.removed or self.superseded)


def add(db: Database, decision: OverlayDecision, at: str) -> OverlayEntry:
    """Make an entry over the API, in place of one that was made there for the same rule and action.

    Raises `EntryRefused` when the configuration has that one, when an entry in force contradicts this one, and for
    a pin when there is no such text.
    """
    mine = entries(db, decision.rule_id)
    old = next((e for e in mine if e.action == decision.action), None)
    if old is not None and old.declared == "config":
        raise EntryRefused(_DECLARED.format(old.action, old.rule_id))
    rival = contradicts(decision.action, mine, at)
    if rival is not None:
        where = "the configuration" if rival.declared == "config" else f"entry {rival.id}"
        raise EntryRefused(
            f"For {rival.rule_id} {where} says {rival.action}, which contradicts this; remove that first."
        )
    new = _entry(db, decision, None, "api", at)
    if not new.is_usable:
        raise EntryRefused(_nothing_to_pin(decision))
    if old is not None:
        _delete(db, old.id)
    _insert(db, new)
    return new


def remove(db: Database, entry_id: str) -> OverlayEntry:
    """Take an entry away; raises `UnknownEntry`, and `EntryRefused` for one that the configuration has."""
    old = entry(db, entry_id)
    if old.declared == "config":
        raise EntryRefused(_DECLARED.format(old.action, old.rule_id))
    _delete(db, entry_id)
    return old


def declare(
    db: Database, decisions: Sequence[OverlayDecision], at: str, *, withdraw: bool
) -> DeclaredChanges:
    """Bring the configured entries to what the configuration says now; it wins over entries made over the API.

    An entry whose text and severity stay the same keeps its base and its age; so does a pin to a version that is
    not kept (any more). With `withdraw`, entries that are configured no more are removed. Call it before `settle`.
    """
    wanted = {(decision.rule_id, decision.action): decision for decision in decisions}
    in_force = {key for key, d in wanted.items() if d.expires_at is None or d.expires_at > at}
    known: dict[tuple[str, OverlayAction], OverlayEntry] = {}
    removed: list[str] = []
    superseded: list[OverlayEntry] = []
    for old in entries(db):
        key = (old.rule_id, old.action)
        if old.declared == "config":
            known[key] = old
            if withdraw and key not in wanted:
                _delete(db, old.id)
                removed.append(old.rule_id)
        elif key in wanted or (
            (old.rule_id, PARTNERS.get(old.action)) in in_force and not old.has_expired(at)
        ):
            _delete(db, old.id)
            superseded.append(old)
    made: list[str] = []
    for key, decision in wanted.items():
        before = known.get(key)
        new = _entry(db, decision, before, "config", at)
        if new != before:
            _delete(db, new.id)
            _insert(db, new)
            made.append(new.rule_id)
    return DeclaredChanges(tuple(made), tuple(removed), tuple(superseded))


def is_due(db: Database, since: str, at: str) -> bool:
    """Has an entry ended in this time, or does a configured pin still wait for a text that may be there now?"""
    return bool(
        db.conn.execute(
            "SELECT EXISTS (SELECT 1 FROM overlay WHERE expires_at > ? AND expires_at <= ?)"
            " OR EXISTS (SELECT 1 FROM overlay WHERE action = 'pin' AND digest IS NULL"
            " AND EXISTS (SELECT 1 FROM upstream_version WHERE first_seen >= ?))",
            [since, at, since],
        ).fetchone()[0]
    )


def _entry(
    db: Database, decision: OverlayDecision, before: OverlayEntry | None, declared: Declared, at: str
) -> OverlayEntry:
    rows = upstream_rules(db, decision.rule_id)
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
    """The same at every start, so that a link to the entry stays good."""
    return hashlib.sha256(f"{decision.rule_id} {decision.action}".encode()).hexdigest()[:16]


def _digest_of(db: Database, decision: OverlayDecision, held: str | None) -> str | None:
    if decision.action == "replace" and decision.replacement is not None:
        return put_text(db, decision.replacement.inspection, decision.replacement.text)
    if decision.action != "pin":
        return None
    if decision.version is None:
        return held
    row = db.conn.execute(
        "SELECT u.digest FROM upstream_rule u JOIN upstream_version v ON v.id = u.version"
        " WHERE u.rule_id = ? AND (v.label = ? OR CAST(v.id AS TEXT) = ?) ORDER BY v.label = ? DESC, v.id DESC",
        [decision.rule_id, *[decision.version] * 3],
    ).fetchone()
    return row[0] if row else None


def _nothing_to_pin(decision: OverlayDecision) -> str:
    if decision.version is None:
        return f"No upstream has {decision.rule_id} in service, so there is no text to pin."
    return f"No kept upstream version {decision.version!r} has {decision.rule_id}."


def _insert(db: Database, new: OverlayEntry) -> None:
    marks = ", ".join("?" for _ in OverlayEntry.__struct_fields__)
    db.conn.execute(
        f"INSERT INTO overlay ({COLUMNS}) VALUES ({marks})",  # noqa: S608 (our own names)
        msgspec.structs.astuple(new),
    )


def _delete(db: Database, entry_id: str) -> None:
    db.conn.execute("DELETE FROM overlay WHERE id = ?", [entry_id])
