"""A database in memory with the whole schema, and keys in it."""

from datetime import UTC, datetime, timedelta

from sqlite_utils import Database

from app.access.key_store import KeyRecord, insert_key
from app.access.principal import Enrolment, Role
from app.http.timestamps import to_text
from app.storage.schema import MIGRATIONS

NOW = datetime(2026, 4, 17, 10, 30, tzinfo=UTC)


def fresh() -> Database:
    """An empty database of the present schema."""
    db = Database(memory=True)
    for migration in MIGRATIONS:
        migration(db)
    return db


def enrol(
    db: Database,
    key_id: str,
    *,
    subject: str | None = None,
    role: Role = Role.AGENT,
    enrolled: Enrolment = "admin",
    address: str | None = None,
    days_ago: int = 0,
    expires: datetime | None = None,
    revoked: bool = False,
) -> None:
    """A key record, without a token."""
    insert_key(
        db,
        KeyRecord(
            id=key_id,
            role=role,
            subject=subject or f"agent-{key_id}",
            enrolled=enrolled,
            site=None,
            client_id=None,
            address=address,
            issued_at=to_text(NOW - timedelta(days=days_ago)),
            expires_at=None if expires is None else to_text(expires),
            revoked_at=to_text(NOW) if revoked else None,
        ),
    )
