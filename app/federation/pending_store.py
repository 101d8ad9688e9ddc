"""The store of pending changes (table `held_change`): what waits for an admin, and what an admin rejected.

On the wire and in the table a pending change is `held` or `refused`.
"""

import hashlib
from collections.abc import Collection, Iterable
from typing import Any, Literal

import msgspec
from sqlite_utils import Database

from app.federation.decide import GUARDED, Change, ChangeKind, PullDecision, SeenChanges, TextRef
from app.federation.errors import PendingChangesMoved, UnknownChange
from app.http.paging import Page

PendingState = Literal["held", "refused"]


class PendingChange(msgspec.Struct, frozen=True, rename="camel"):
    """A held or refused change as people see it; title and severity are the new text's, or a withdrawn rule's."""

    rule_id: str
    change: ChangeKind
    reasons: list[str]
    held_at: str
    state: PendingState
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


def guarded(db: Database, upstream: str) -> SeenChanges:
    """Return the held changes that a guard was about."""
    return {
        row["rule_id"]: (row["change"], row["digest"])
        for row in _rows(db, upstream, "held")
        if row["change"] in {GUARDED.get(reason) for reason in msgspec.json.decode(row["reasons"])}
    }


def rejected(db: Database, upstream: str) -> SeenChanges:
    """Return the changes that an admin has rejected."""
    return {row["rule_id"]: (row["change"], row["digest"]) for row in _rows(db, upstream, "refused")}


def replace_held(db: Database, upstream: str, decision: PullDecision, version: int | None, at: str) -> int:
    """Let exactly the decision's `held` be held; return how many.

    One that was held before keeps its time, and its reasons unless there are new ones. A rejection stays until
    another change of the same rule comes.
    """
    before = {(row["rule_id"], row["change"], row["digest"]): row for row in _rows(db, upstream, "held")}
    db.table("held_change").delete_where("upstream = ? AND state = 'held'", [upstream])
    drop(db, upstream, [change.rule_id for change in decision.apply])
    reasons = msgspec.json.encode(decision.reasons).decode() if decision.reasons else None
    rows: list[tuple[object, ...]] = []
    for change in decision.held:
        old = before.get((change.rule_id, *change.identity))
        rows.append(
            (
                upstream,
                change.rule_id,
                change.kind,
                *(change.text or (None, None)),
                version,
                reasons or (old["reasons"] if old else None),
                old["held_at"] if old else at,
            )
        )
    # A whole set may be held: one prepared statement.
    db.conn.executemany(
        "INSERT OR REPLACE INTO held_change"
        " (upstream, rule_id, change, digest, source, version, reasons, state, held_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 'held', ?)",
        rows,
    )
    return len(rows)


def drop(db: Database, upstream: str, rule_ids: Iterable[str]) -> None:
    """Drop what is held or rejected of these rules."""
    db.conn.executemany(
        "DELETE FROM held_change WHERE upstream = ? AND rule_id = ?", [(upstream, i) for i in rule_ids]
    )


def reject(db: Database, upstream: str, rule_ids: Iterable[str], by: str, note: str, at: str) -> None:
    """Mark these held changes as rejected."""
    db.conn.executemany(
        "UPDATE held_change SET state = 'refused', decided_at = ?, decided_by = ?, note = ?"
        " WHERE upstream = ? AND rule_id = ?",
        [(at, by, note, upstream, rule_id) for rule_id in rule_ids],
    )


def counts(db: Database, upstream: str) -> tuple[int, int]:
    """Count the changes that are held, and those that are rejected."""
    changes = db.table("held_change")
    held = changes.count_where("upstream = ? AND state = 'held'", [upstream])
    return held, changes.count_where("upstream = ? AND state = 'refused'", [upstream])


def digest(db: Database, upstream: str) -> str:
    """Return the SHA-256 (hex) that names what is held, so that a decision on all of it can name what was seen."""
    lines = [
        "\t".join([row["rule_id"], row["change"], row["digest"] or "", row["source"] or ""]) + "\n"
        for row in _rows(db, upstream, "held")
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def choose(
    db: Database,
    upstream: str,
    rule_ids: Collection[str] | None,
    wanted: str | None,
    *states: PendingState,
) -> list[tuple[Change, int | None]]:
    """Return the changes that an admin means, each with the version that it came with: those named, else all held.

    `wanted` is the digest of what they looked at. Raises `PendingChangesMoved` when that is another now,
    `UnknownChange` when one that is named is in none of these states.
    """
    if wanted is not None and wanted != (now := digest(db, upstream)):
        raise PendingChangesMoved(now)
    rows = _rows(db, upstream, "held") if rule_ids is None else _rows(db, upstream, *states)
    if rule_ids is not None:
        if missing := sorted({*rule_ids} - {row["rule_id"] for row in rows}):
            raise UnknownChange(f"No change of {', '.join(missing[:10])} is {' or '.join(states)}.")
        rows = [row for row in rows if row["rule_id"] in {*rule_ids}]
    return [
        (
            Change(
                row["rule_id"],
                row["change"],
                TextRef(row["digest"], row["source"]) if row["digest"] else None,
            ),
            row["version"],
        )
        for row in rows
    ]


def list_changes(db: Database, upstream: str, page: Page, state: PendingState) -> list[PendingChange]:
    """List changes in this state by rule id, one more than `page.limit` when there is a next page."""
    rows = db.execute(
        f"{_SHOWN} WHERE h.upstream = ? AND h.state = ? AND h.rule_id > ? ORDER BY h.rule_id LIMIT ?",
        [upstream, state, page.after[0] if page.after else "", page.limit + 1],
    )
    return [_shown(row) for row in rows]


def show_change(db: Database, upstream: str, rule_id: str) -> tuple[PendingChange, str | None, str | None]:
    """Return one change, with the texts before and after it; raises `UnknownChange`."""
    row = db.execute(f"{_SHOWN} WHERE h.upstream = ? AND h.rule_id = ?", [upstream, rule_id]).fetchone()
    if row is None:
        raise UnknownChange(f"No change of {rule_id} is held or refused.")
    shown = _shown(row)
    before = None if shown.change == "added" else _text(db, row[10])
    return shown, before, _text(db, row[11])


def _rows(db: Database, upstream: str, *states: PendingState) -> list[dict[str, Any]]:
    places = ", ".join("?" * len(states))
    return [
        *db.table("held_change").rows_where(
            f"upstream = ? AND state IN ({places})", [upstream, *states], order_by="rule_id"
        )
    ]


def _shown(row: tuple[object, ...]) -> PendingChange:
    fields = {name: row[i] for i, name in enumerate(PendingChange.__struct_fields__)}
    fields["reasons"] = msgspec.json.decode(str(row[2]), type=list[str])
    return PendingChange(**fields)  # type: ignore[arg-type]


def _text(db: Database, digest: str | None) -> str | None:
    row = db.execute("SELECT text FROM rule_text WHERE digest = ?", [digest]).fetchone()
    return row[0] if row else None
