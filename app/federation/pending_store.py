"""The SQL of held changes: what waits for an admin, and what an admin decided."""

import hashlib
from collections.abc import Collection, Iterable
from typing import Literal

import msgspec
from sqlite_utils import Database

from app.federation.decide import STOPPED, Change, ChangeKind, Decision, Known, Text
from app.federation.errors import HeldMoved, UnknownChange
from app.http.paging import Page

HeldState = Literal["held", "refused"]


class ShownChange(msgspec.Struct, frozen=True, rename="camel"):
    """A held or refused change as people see it; title and severity are the new text's, or a withdrawn rule's."""

    rule_id: str
    change: ChangeKind
    reasons: list[str]
    held_at: str
    state: HeldState
    decided_by: str | None
    decided_at: str | None
    note: str | None
    title: str
    severity: str


_SHOWN = (
    "SELECT h.rule_id, h.change, h.reasons, h.held_at, h.state, h.decided_by, h.decided_at, h.note,"
    " coalesce(t.title, ''), coalesce(t.severity, ''), r.digest, h.digest"
    " FROM held_change h LEFT JOIN rule r ON r.origin = 'upstream:' || h.upstream AND r.rule_id = h.rule_id"
    " LEFT JOIN rule_text t ON t.digest = coalesce(h.digest, r.digest)"
)


def stopped(db: Database, upstream: str) -> Known:
    """The held changes that a guard was about."""
    rows = db.conn.execute(
        "SELECT rule_id, change, digest, reasons FROM held_change WHERE upstream = ? AND state = 'held'",
        [upstream],
    )
    return {
        rule_id: (change, digest)
        for rule_id, change, digest, reasons in rows
        if change in {STOPPED.get(reason) for reason in msgspec.json.decode(reasons)}
    }


def refused(db: Database, upstream: str) -> Known:
    """The changes that an admin has refused."""
    rows = db.conn.execute(
        "SELECT rule_id, change, digest FROM held_change WHERE upstream = ? AND state = 'refused'", [upstream]
    )
    return {rule_id: (change, digest) for rule_id, change, digest in rows}


def replace(db: Database, upstream: str, decision: Decision, version: int | None, at: str) -> int:
    """Let exactly these changes be held; returns how many.

    One that was held before keeps its time, and its reasons unless there are new ones. A refusal stays until another
    change of the same rule comes.
    """
    rows = db.conn.execute(
        "SELECT rule_id || ' ' || change || ' ' || coalesce(digest, ''), held_at, reasons FROM held_change"
        " WHERE upstream = ? AND state = 'held'",
        [upstream],
    )
    before = {name: (held_at, reasons) for name, held_at, reasons in rows}
    db.conn.execute("DELETE FROM held_change WHERE upstream = ? AND state = 'held'", [upstream])
    forget(db, upstream, [change.rule_id for change in decision.apply])
    reasons = msgspec.json.encode(decision.reasons).decode() if decision.reasons else None
    db.conn.executemany(
        "INSERT OR REPLACE INTO held_change"
        " (upstream, rule_id, change, digest, source, version, reasons, state, held_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 'held', ?)",
        [
            (
                upstream,
                c.rule_id,
                c.kind,
                *(c.text or (None, None)),
                version,
                reasons or before[_name(c)][1],
                before.get(_name(c), (at, None))[0],
            )
            for c in decision.held
        ],
    )
    return len(decision.held)


def forget(db: Database, upstream: str, rule_ids: Iterable[str]) -> None:
    """Drop what is held or refused of these rules."""
    db.conn.executemany(
        "DELETE FROM held_change WHERE upstream = ? AND rule_id = ?", [(upstream, i) for i in rule_ids]
    )


def refuse(db: Database, upstream: str, rule_ids: Iterable[str], by: str, note: str, at: str) -> None:
    """Mark these held changes as refused."""
    db.conn.executemany(
        "UPDATE held_change SET state = 'refused', decided_at = ?, decided_by = ?, note = ?"
        " WHERE upstream = ? AND rule_id = ?",
        [(at, by, note, upstream, rule_id) for rule_id in rule_ids],
    )


def counts(db: Database, upstream: str) -> tuple[int, int]:
    """How many changes are held, and how many refused."""
    found = dict(
        db.conn.execute(
            "SELECT state, count(*) FROM held_change WHERE upstream = ? GROUP BY state", [upstream]
        ).fetchall()
    )
    return found.get("held", 0), found.get("refused", 0)


def digest(db: Database, upstream: str) -> str:
    """SHA-256 (hex) that names what is held: whoever decides on all of it can say which all they mean."""
    rows = db.conn.execute(
        "SELECT rule_id, change, coalesce(digest, ''), coalesce(source, '') FROM held_change"
        " WHERE upstream = ? AND state = 'held' ORDER BY rule_id",
        [upstream],
    )
    return hashlib.sha256("".join("\t".join(row) + "\n" for row in rows).encode()).hexdigest()


def choose(
    db: Database,
    upstream: str,
    rule_ids: Collection[str] | None,
    wanted: str | None,
    *states: HeldState,
) -> list[tuple[Change, int | None]]:
    """The changes that an admin means, each with the version that it came with: those named, else all held ones.

    `wanted` is the digest of what they looked at. Raises `HeldMoved` when that is another now, `UnknownChange` when
    one that is named is in none of these states.
    """
    if wanted is not None and wanted != (now := digest(db, upstream)):
        raise HeldMoved(now)
    rows = db.conn.execute(
        "SELECT rule_id, change, digest, source, version, state FROM held_change WHERE upstream = ?"
        " ORDER BY rule_id",
        [upstream],
    ).fetchall()
    if rule_ids is None:
        rows = [row for row in rows if row[5] == "held"]
    else:
        named = {row[0] for row in rows if row[5] in states}
        if missing := sorted({*rule_ids} - named):
            raise UnknownChange(f"No change of {', '.join(missing[:10])} is {' or '.join(states)}.")
        rows = [row for row in rows if row[0] in {*rule_ids}]
    return [
        (Change(rule_id, kind, Text(text, source) if text else None), version)
        for rule_id, kind, text, source, version, _ in rows
    ]


def list_changes(db: Database, upstream: str, page: Page, state: HeldState) -> list[ShownChange]:
    """Changes in this state by rule id, one more than `page.limit` when there is a next page."""
    rows = db.conn.execute(
        f"{_SHOWN} WHERE h.upstream = ? AND h.state = ? AND h.rule_id > ? ORDER BY h.rule_id LIMIT ?",
        [upstream, state, page.after[0] if page.after else "", page.limit + 1],
    )
    return [_shown(row) for row in rows]


def show_change(db: Database, upstream: str, rule_id: str) -> tuple[ShownChange, str | None, str | None]:
    """One change, with the texts before and after it; raises `UnknownChange`."""
    row = db.conn.execute(f"{_SHOWN} WHERE h.upstream = ? AND h.rule_id = ?", [upstream, rule_id]).fetchone()
    if row is None:
        raise UnknownChange(f"No change of {rule_id} is held or refused.")
    shown = _shown(row)
    before = None if shown.change == "added" else _text(db, row[10])
    return shown, before, _text(db, row[11])


def _shown(row: tuple[object, ...]) -> ShownChange:
    fields = {name: row[i] for i, name in enumerate(ShownChange.__struct_fields__)}
    fields["reasons"] = msgspec.json.decode(str(row[2]), type=list[str])
    return ShownChange(**fields)  # type: ignore[arg-type]


def _text(db: Database, digest: str | None) -> str | None:
    row = db.conn.execute("SELECT text FROM rule_text WHERE digest = ?", [digest]).fetchone()
    return row[0] if row else None


def _name(change: Change) -> str:
    return f"{change.rule_id} {change.kind} {change.text.digest if change.text else ''}"
