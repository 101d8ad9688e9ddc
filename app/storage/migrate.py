"""Bringing a database up to this release's schema: transactional, forward only, snapshot first."""

from pathlib import Path

from sqlite_utils import Database

from app import __version__
from app.storage.errors import DatabaseTooNew
from app.storage.schema import MIGRATIONS, migrations


def migrate(db: Database, path: Path) -> None:
    """Apply what is missing; before that, keep a snapshot of a database that already holds data.

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
    partial.chmod(0o600)
    partial.replace(target)
