"""Bringing a database up to this release's schema (transactional, forward only, snapshot first), and copying one."""

import sqlite3
from pathlib import Path

from sqlite_utils import Database

from app import __version__
from app.storage.connection import open_reader
from app.storage.errors import DatabaseDamaged, DatabaseTooNew, StorageUnavailable
from app.storage.files import PRIVATE, put_in_place
from app.storage.schema import MIGRATIONS, migrations


def migrate(db: Database, path: Path) -> None:
    """Apply the missing migrations; before that, keep a snapshot of a database that already holds data.

    The snapshot is `<state>/snapshots/before-<release>.db`. Raises `DatabaseTooNew` when the database has
    migrations that this release does not know.
    """
    known = [migration.__name__ for migration in MIGRATIONS]
    applied = [migration.name for migration in migrations.applied(db)]
    unknown = [name for name in applied if name not in known]
    if unknown:
        raise DatabaseTooNew(
            f"{path} was written by a newer release (it has {', '.join(unknown)}); "
            f"install that release again, or restore the snapshot taken before its upgrade"
        )
    if len(applied) == len(known):
        return
    if applied:
        _snapshot(db, path.parent / "snapshots" / f"before-{__version__}.db")
    migrations.apply(db)


def _snapshot(db: Database, target: Path) -> None:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    db.conn.execute("VACUUM INTO ?", [str(partial)])
    partial.chmod(PRIVATE)
    put_in_place(partial, target)


def copy_database(source: Path, target: Path) -> None:
    """Write one moment of `source` to the new file `target`, complete in itself, without a log beside it.

    The source may be in use. It is read through a read-only connection, so that nothing is written or checkpointed
    beside the single writer; what is committed and still in the log is in the copy. Raises `DatabaseDamaged`, or
    `StorageUnavailable` when the source cannot be read or `target` cannot be written.
    """
    try:
        db = open_reader(source)
        try:
            # The file itself is opened read-only; this pragma would forbid the copy too.
            db.conn.execute("PRAGMA query_only=OFF")
            db.conn.execute("VACUUM INTO ?", [str(target)])
        finally:
            db.conn.close()
    except sqlite3.OperationalError as error:
        raise StorageUnavailable(f"{source} could not be copied: {error}") from error
    except sqlite3.DatabaseError as error:
        raise DatabaseDamaged(f"{source} is damaged: {error}") from error
