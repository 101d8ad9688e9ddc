"""The SQL of backups: facts about a database file, and the checks that it must pass."""

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlite_utils import Database

from app.access import audit_store
from app.access.audit_chain import GENESIS
from app.access.principal import LOCAL
from app.backup.errors import BackupError
from app.backup.manifest import AuditHead, DatabaseContents, NewestPublication
from app.bundles.format import PublicationClaims
from app.publication import store as publications
from app.publication.compose import set_digest
from app.rules.compare import text_digest
from app.rules.store import text_of
from app.signing.jws import StatementError, read_statement
from app.storage.connection import open_reader
from app.storage.schema import MIGRATIONS, migrations

T = TypeVar("T")


def describe_database(path: Path) -> DatabaseContents:
    """Return the facts about a database; raise `BackupError` when it cannot be read."""
    return _read(path, _contents)


def migrate_copy(path: Path) -> tuple[str, ...]:
    """Give a copy this release's schema; return the migrations that it had.

    Raise `BackupError` when it is damaged or of a newer release.
    """
    had = migrations_of(path)
    check_release(had)
    if len(had) < len(MIGRATIONS):
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            migrations.apply(Database(connection))
        except sqlite3.Error as error:
            raise BackupError(f"the database cannot be brought to this release's schema: {error}") from error
        finally:
            connection.close()
    return had


def verify_database(path: Path, keys: Sequence[Ed25519PublicKey]) -> DatabaseContents:
    """Check all of a database of this release; `keys` are the public manifest keys of its instance.

    SQLite's integrity check, the audit chain from its first entry, and the newest publication: signed by
    one of the keys, and made of just the rules and texts that are there. Raise `BackupError`.
    """

    def check(db: Database) -> DatabaseContents:
        _check_integrity(db)
        _check_audit(db)
        contents = _contents(db)
        if contents.publication is not None:
            _check_publication(db, contents.issuer, keys)
        return contents

    return _read(path, check)


def check_sound(path: Path) -> None:
    """Check SQLite's integrity and the audit chain of a database of any release; raise `BackupError`."""

    def check(db: Database) -> None:
        _check_integrity(db)
        _check_audit(db)

    _read(path, check)


def migrations_of(path: Path) -> tuple[str, ...]:
    """Return the migrations that a database has; raise `BackupError` when it cannot be read."""
    return _read(path, _applied)


def can_serve_as_kept(path: Path) -> bool:
    """Return True when the newest publication can be served as it is kept; otherwise it is built again, without harm.

    Raise `BackupError` when what is kept is not understood.
    """

    def load(db: Database) -> bool:
        record = publications.latest(db)
        try:
            return record is not None and publications.load_served_set(db, record) is not None
        except (msgspec.MsgspecError, ValueError) as error:
            raise BackupError(f"the newest publication cannot be loaded: {error}") from error

    return _read(path, load)


def check_release(found: Sequence[str]) -> None:
    """Raise `BackupError` when a database with these migrations is of a newer release than this one."""
    known = {migration.__name__ for migration in MIGRATIONS}
    if unknown := [name for name in found if name not in known]:
        raise BackupError(
            f"it is of a newer release (it has {', '.join(map(ascii, unknown))}): use that release"
        )


def audit_restore(path: Path, target: str, operator: str, detail: dict[str, Any], now: datetime) -> None:
    """Add the entry `instance.restored` to the audit log of a database that no other process has open.

    Afterwards the file is complete in itself, whatever journal it had. Raise `BackupError`.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("BEGIN IMMEDIATE")
        said = {"operator": operator, **detail}
        db = Database(connection)
        audit_store.append(
            db, at=now, actor=LOCAL.actor, action="instance.restored", target=target, detail=said
        )
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise BackupError(f"the audit entry could not be written: {error}") from error
    finally:
        connection.close()


def _applied(db: Database) -> tuple[str, ...]:
    rows = db.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = 'threatcloud' ORDER BY id")
    return tuple(row[0] for row in rows)


def _read(path: Path, query: Callable[[Database], T]) -> T:
    try:
        db = open_reader(path)
        try:
            db.conn.execute("BEGIN")
            return query(db)
        finally:
            db.conn.close()
    except sqlite3.OperationalError as error:
        raise BackupError(f"the database cannot be read: {error}") from error
    except sqlite3.DatabaseError as error:
        raise BackupError(f"the database is damaged: {error}") from error


def _check_integrity(db: Database) -> None:
    problems = [row[0] for row in db.execute("PRAGMA integrity_check(3)") if row[0] != "ok"]
    if problems:
        raise BackupError(f"the database is damaged: {'; '.join(problems)}")


def _check_audit(db: Database) -> None:
    report = audit_store.verify(db)
    if report.broken_at is not None:
        raise BackupError(f"its audit log is broken at entry {report.broken_at}: {report.why}")


def _contents(db: Database) -> DatabaseContents:
    row = db.execute("SELECT value FROM instance WHERE name = 'id'").fetchone()
    if row is None:
        raise BackupError("the database is of no instance: start the server once")
    entries, head = db.execute(
        "SELECT (SELECT count(*) FROM audit), (SELECT hash FROM audit ORDER BY id DESC LIMIT 1)"
    ).fetchone()
    return DatabaseContents(
        issuer=f"urn:threatcloud:{row[0]}",
        migrations=_applied(db),
        publication=_newest(db),
        audit=AuditHead(entries, head or GENESIS),
    )


def _newest(db: Database) -> NewestPublication | None:
    record = publications.latest(db)
    if record is None:
        return None
    row = db.execute(
        "SELECT entries FROM publication_sheet WHERE serial = ? AND representation = 'live' AND ring = 'stable'",
        [record.serial],
    ).fetchone()
    try:
        etag = msgspec.msgpack.decode(row[0], type=tuple[str, msgspec.Raw])[0] if row else None
    except msgspec.MsgspecError as error:
        raise BackupError(f"the newest publication cannot be loaded: {error}") from error
    return NewestPublication(record.serial, etag, hashlib.sha256(record.manifest.encode()).hexdigest())


def _check_publication(db: Database, issuer: str, keys: Sequence[Ed25519PublicKey]) -> None:
    record = publications.latest(db)
    assert record is not None  # noqa: S101 (the caller has seen it)
    what = f"publication {record.serial}"
    try:
        token = record.manifest.encode()
        said = read_statement("publication+jwt", token, keys, PublicationClaims, what)
    except StatementError as error:
        raise BackupError(str(error)) from None
    members = publications.published_members(db, record.serial)
    found = PublicationClaims(
        iss=issuer,
        serial=record.serial,
        published_at=record.published_at,
        digest=set_digest(members),
        previous=said.previous,
        rules={member.rule_id: member.digest for member in members},
    )
    if said != found or said.digest != record.digest:
        raise BackupError(f"{what} is not the set that was signed")
    for digest in set(said.rules.values()):
        text = text_of(db, digest)
        if text is None or text_digest(text) != digest:
            raise BackupError(f"{what} lacks the text {digest}, or has another one")
