"""A database in memory with the whole schema, and keys and rules for any database."""

from datetime import datetime, timedelta

from sqlite_utils import Database

from app.access.key_store import KeyRecord, insert_key
from app.access.principal import Enrolment, Role
from app.http.timestamps import to_text
from app.rules.inspect import inspect_text
from app.rules.store import RuleState, put_text, store_rule
from app.rules.validate import Profile
from app.storage.schema import MIGRATIONS
from tests.clock import NOW, NOW_TEXT


def fresh() -> Database:
    """Return an empty database of the present schema."""
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
    site: str | None = None,
    address: str | None = None,
    days_ago: int = 0,
    expires: datetime | None = None,
    revoked: bool = False,
) -> KeyRecord:
    """Insert a key record, without a token."""
    record = KeyRecord(
        id=key_id,
        role=role,
        subject=subject or f"agent-{key_id}",
        enrolled=enrolled,
        site=site,
        client_id=None,
        address=address,
        issued_at=to_text(NOW - timedelta(days=days_ago)),
        expires_at=None if expires is None else to_text(expires),
        revoked_at=NOW_TEXT if revoked else None,
    )
    insert_key(db, record)
    return record


def put_rule_text(db: Database, text: str) -> str:
    """Keep a text as every origin does; return its digest."""
    return put_text(db, inspect_text(text, profile=Profile.PUBLISHED), text)


def put_rule(
    db: Database,
    rule_id: str,
    text: str,
    *,
    origin: str = "local",
    state: RuleState = "active",
    at: str = NOW_TEXT,
    pattern_hash: str | None = None,
    source: str | None = None,
) -> str:
    """Let an origin have a rule; return the digest of its text."""
    digest = put_rule_text(db, text)
    store_rule(
        db,
        origin=origin,
        rule_id=rule_id,
        digest=digest,
        state=state,
        at=at,
        pattern_hash=pattern_hash,
        source=source,
    )
    return digest
