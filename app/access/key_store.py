"""Key records: what the instance keeps of a key it issued. Of the token itself, no more than a digest is stored.

Looking a key up by its id is on the way of every new client's first request (20 us), hence prepared SQL; the rest is
called by people.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

import msgspec
from sqlite_utils import Database

from app.access.principal import Enrolment, Principal, Role
from app.http.paging import Page
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


COLUMNS = ", ".join(KeyRecord.__struct_fields__)


def holder_of(record: KeyRecord, address: str) -> Principal:
    """Return the principal that uses the key of this record, from this address."""
    return Principal(
        key_id=record.id,
        role=record.role,
        subject=record.subject,
        enrolled=record.enrolled,
        registered_from=record.address,
        site=record.site,
        address=address,
    )


def insert_key(db: Database, record: KeyRecord, fingerprint: bytes | None = None) -> None:
    """Store a new record with the fingerprint of its token (`app.access.token_cache`).

    Raises `sqlite3.IntegrityError` when the id is taken.
    """
    db.table("key").insert(msgspec.structs.asdict(record) | {"mark": fingerprint})


def find_key(db: Database, key_id: str) -> KeyRecord | None:
    """Return the record with this id, be it revoked or expired."""
    row = db.conn.execute(f"SELECT {COLUMNS} FROM key WHERE id = ?", [key_id]).fetchone()
    return None if row is None else _record(row)


def fingerprinted_keys(db: Database, now: datetime, limit: int) -> list[tuple[bytes, KeyRecord]]:
    """Return the fingerprints and records of the newest keys that are neither revoked nor expired.

    At most `limit`, the oldest of them first.
    """
    rows = db.conn.execute(
        f"SELECT mark, {COLUMNS} FROM key WHERE mark IS NOT NULL AND revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > ?) ORDER BY issued_at DESC, id DESC LIMIT ?",
        [to_text(now), limit],
    ).fetchall()
    return [(fingerprint, _record(row)) for fingerprint, *row in reversed(rows)]


def list_keys(
    db: Database, page: Page, role: Role | None = None, subject: str | None = None
) -> list[KeyRecord]:
    """Return a page of keys and one more if there is one, newest first; revoked keys included."""
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
    rows = db.table("key").rows_where(
        " AND ".join(conditions),
        values,
        select=COLUMNS,
        order_by="issued_at DESC, id DESC",
        limit=page.limit + 1,
    )
    return [msgspec.convert(row, KeyRecord) for row in rows]


def revoke_key(db: Database, key_id: str, now: datetime) -> bool:
    """Revoke a key for good; False when it is unknown or was revoked before.

    In a serving process only `Gatekeeper.revoke` may call this, because it also makes the cache forget the key.
    """
    changed = db.conn.execute(
        "UPDATE key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", [to_text(now), key_id]
    ).rowcount
    return bool(changed)


def _record(row: Sequence[object]) -> KeyRecord:
    return msgspec.convert(dict(zip(KeyRecord.__struct_fields__, row, strict=True)), KeyRecord)


def issuer_of(db: Database) -> str:
    """Return the name under which this instance signs, `urn:threatcloud:<instance id>`.

    The id is made on first use and kept, so `db` must be the writer's.
    """
    db.conn.execute("INSERT OR IGNORE INTO instance (name, value) VALUES ('id', ?)", [str(uuid4())])
    row = db.conn.execute("SELECT value FROM instance WHERE name = 'id'").fetchone()
    return f"urn:threatcloud:{row[0]}"
