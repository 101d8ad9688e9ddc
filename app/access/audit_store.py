"""The audit log: who did what, to what, when and from where, in an append-only hash chain."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlite_utils import Database

from app.access.audit_chain import GENESIS, ChainLink, ChainReport, HashedEntry, follow, hash_of
from app.http.paging import Page
from app.http.timestamps import to_text

_detail_encoder = msgspec.json.Encoder(order="sorted")


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry as readers see it; `detail` is the object that was recorded."""

    id: int
    at: str
    actor: str
    action: str
    target: str | None
    detail: dict[str, Any]
    address: str | None
    hash: str


COLUMNS = ", ".join(AuditEntry.__struct_fields__)


def append(
    db: Database,
    *,
    at: datetime,
    actor: str,
    action: str,
    target: str | None = None,
    detail: Mapping[str, Any] | None = None,
    address: str | None = None,
) -> int:
    """Add an entry inside the caller's write transaction: the change and its record are kept together or not at all.

    `detail` must be what JSON can carry and must hold no secret. Return the entry's id.
    """
    last_id, previous = db.conn.execute("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1").fetchone() or (
        0,
        GENESIS,
    )
    text = _detail_encoder.encode(dict(detail or {})).decode()
    entry = HashedEntry(last_id + 1, to_text(at), actor, action, target, text, address)
    db.conn.execute(
        "INSERT INTO audit (id, at, actor, action, target, detail, address, previous, hash) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [*msgspec.structs.astuple(entry), previous, hash_of(previous, entry)],
    )
    return entry.id


def read(
    db: Database,
    page: Page,
    *,
    action: str | None = None,
    actor: str | None = None,
    since: datetime | None = None,
) -> list[AuditEntry]:
    """Return a page of entries and one more if there is one, newest first.

    `action` is compared whole; `actor` is a whole actor or the subject in front of its key.
    """
    conditions, values = ["1"], list[object]()
    if action is not None:
        conditions.append("action = ?")
        values.append(action)
    if actor is not None:
        conditions.append("(actor = ? OR substr(actor, 1, length(?) + 2) = ? || ' (')")
        values.extend([actor] * 3)
    if since is not None:
        conditions.append("at >= ?")
        values.append(to_text(since))
    if page.after is not None:
        conditions.append("id < CAST(? AS INTEGER)")
        values.extend(page.after)
    where = " AND ".join(conditions)
    rows = db.conn.execute(
        f"SELECT {COLUMNS} FROM audit WHERE {where} ORDER BY id DESC LIMIT ?",
        [*values, page.limit + 1],
    ).fetchall()
    return [_entry(row) for row in rows]


def verify(db: Database) -> ChainReport:
    """Walk the whole log, one row in memory at a time; report edits, removals inside it, and reordering."""
    return follow(_links(db))


def _links(db: Database) -> Iterator[ChainLink]:
    for row in db.conn.execute(
        "SELECT id, at, actor, action, target, detail, address, previous, hash FROM audit ORDER BY id"
    ):
        yield ChainLink(HashedEntry(*row[:7]), row[7], row[8])


def _entry(row: tuple[Any, ...]) -> AuditEntry:
    entry_id, at, actor, action, target, detail, address, own_hash = row
    return AuditEntry(
        id=entry_id,
        at=at,
        actor=actor,
        action=action,
        target=target,
        detail=msgspec.json.decode(detail, type=dict[str, Any]),
        address=address,
        hash=own_hash,
    )
