"""Key records: what the instance keeps of a key it issued. Of the token itself, no more than a digest is stored.

The name under which this instance signs: made once, kept in the database, shared with no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

import msgspec
from sqlite_utils import Database

from app.access.principal import Enrolment, Principal, Role
from app.http.paging import Page, cursor_for
from app.http.timestamps import to_text


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One issued key. Instants are texts (`app.http.timestamps`).

    `client_id` is the label that a self-registered client gave itself and proves nothing; `address` is where
    it registered from.
    """

    id: str
    role: Role
    subject: str
    enrolled: Enrolment
    site: str | None
    client_id: str | None
    address: str | None
    issued_at: str
    expires_at: str | None
    revoked_at: str | None = None


def holder_of(record: KeyRecord, address: str) -> Principal:
    """Whoever uses the key of this record, from this address."""
    return Principal(
        key_id=record.id,
        role=record.role,
        subject=record.subject,
        enrolled=record.enrolled,
        registered_from=record.address,
        site=record.site,
        address=address,
    )


COLUMNS = ", ".join(KeyRecord.__struct_fields__)


def insert_key(db: Database, record: KeyRecord, mark: bytes | None = None) -> None:
    """Store a new record, with the mark of the token that was signed for it.

    Raises `sqlite3.IntegrityError` when the id is taken.
    """
    values = (*msgspec.structs.astuple(record), mark)
    marks = ", ".join("?" * len(values))
    db.conn.execute(
        f"INSERT INTO key ({COLUMNS}, mark) VALUES ({marks})",  # noqa: S608 (our own names)
        values,
    )


def find_key(db: Database, key_id: str) -> KeyRecord | None:
    """The record with this id, revoked and expired ones included."""
    row = db.conn.execute(f"SELECT {COLUMNS} FROM key WHERE id = ?", [key_id]).fetchone()  # noqa: S608
    return None if row is None else _record(row)


def marked_keys(db: Database, now: datetime, limit: int) -> list[tuple[bytes, KeyRecord]]:
    """The marks of tokens, with the records beside them; of the newest keys that are not revoked nor expired.

    At most `limit`, the oldest of them first.
    """
    rows = db.conn.execute(
        f"SELECT mark, {COLUMNS} FROM key WHERE mark IS NOT NULL AND revoked_at IS NULL"  # noqa: S608
        " AND (expires_at IS NULL OR expires_at > ?) ORDER BY issued_at DESC, id DESC LIMIT ?",
        [to_text(now), limit],
    ).fetchall()
    return [(mark, _record(row)) for mark, *row in reversed(rows)]


def list_keys(
    db: Database, page: Page, role: Role | None = None, subject: str | None = None
) -> tuple[list[KeyRecord], str | None]:
    """One page, newest first, with the cursor of the next one (None on the last); revoked ones included."""
    conditions, values = ["1"], list[object]()
    if role is not None:
        conditions.append("role = ?")
        values.append(role.value)
    if subject is not None:
        conditions.append("subject = ?")
        values.append(subject)
    if page.after is not None:
        conditions.append("(issued_at, id) < (?, ?)")
        values.extend(page.after)
    where = " AND ".join(conditions)
    rows = db.conn.execute(
        f"SELECT {COLUMNS} FROM key WHERE {where} ORDER BY issued_at DESC, id DESC LIMIT ?",  # noqa: S608
        [*values, page.limit + 1],
    ).fetchall()
    records = [_record(row) for row in rows[: page.limit]]
    more = len(rows) > page.limit
    return records, cursor_for([records[-1].issued_at, records[-1].id]) if more else None


def revoke_key(db: Database, key_id: str, now: datetime) -> bool:
    """Revoke for good; False when the key is unknown or was revoked before.

    Only `Gatekeeper.revoke` may call this in a serving process: it is what makes the cache forget the key.
    """
    changed = db.conn.execute(
        "UPDATE key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", [to_text(now), key_id]
    ).rowcount
    return bool(changed)


def _record(row: Sequence[object]) -> KeyRecord:
    return msgspec.convert(dict(zip(KeyRecord.__struct_fields__, row, strict=True)), KeyRecord)


def issuer_of(db: Database) -> str:
    """`urn:threatcloud:<instance id>`; the id is made on first use, so `db` must be the writer's."""
    db.conn.execute("INSERT OR IGNORE INTO instance (name, value) VALUES ('id', ?)", [str(uuid4())])
    row = db.conn.execute("SELECT value FROM instance WHERE name = 'id'").fetchone()
    return f"urn:threatcloud:{row[0]}"
