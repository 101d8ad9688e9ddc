"""What stands in the database file, as far as it is the same for every instance."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime

from app.doctor.finding import Finding
from app.http.timestamps import from_text, to_text
from app.storage.connection import WRITER_PRAGMAS
from app.storage.schema import MIGRATIONS

BUILT_AFTER = datetime(2026, 1, 1, tzinfo=UTC)


def contents(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Journal mode, integrity, schema and the clock that wrote it."""
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    settings = ", ".join(pragma.removeprefix("PRAGMA ") for pragma in WRITER_PRAGMAS[2:])
    yield Finding(
        "pragmas",
        "ok" if mode == "wal" else "failed",
        f"the file has journal_mode={mode}; the writer sets {settings}",
        "" if mode == "wal" else "Start the server once.",
    )
    problems = [row[0] for row in connection.execute("PRAGMA quick_check(5)") if row[0] != "ok"]
    if problems:
        yield Finding("integrity", "failed", "; ".join(problems), "Restore the newest backup.")
    else:
        yield Finding("integrity", "ok", "quick_check found nothing")
    applied, known = _migrations(connection)
    if applied - known:
        yield Finding(
            "schema", "failed", f"newer than this release: {sorted(applied - known)}", "Upgrade again."
        )
    elif known - applied:
        yield Finding(
            "schema", "warning", f"not migrated yet: {sorted(known - applied)}", "Start the server."
        )
    else:
        yield Finding("schema", "ok", f"{len(applied)} migrations")
    yield _clock(connection)


def is_current(connection: sqlite3.Connection) -> bool:
    """Is the schema the one of this release?"""
    applied, known = _migrations(connection)
    return applied == known


def _migrations(connection: sqlite3.Connection) -> tuple[set[str], set[str]]:
    """Those that the file has, and those of this release."""
    applied = {row[0] for row in connection.execute("SELECT name FROM _sqlite_migrations")}
    return applied, {migration.__name__ for migration in MIGRATIONS}


def _clock(connection: sqlite3.Connection) -> Finding:
    """A clock that was set back would make new publications look older than old ones."""
    now = datetime.now(UTC)
    newest = connection.execute("SELECT max(published_at) FROM publication").fetchone()[0]
    if now < BUILT_AFTER or (newest and (from_text(newest) - now).total_seconds() > 60):
        found = f"{to_text(now)}, but the newest publication is of {newest}"
        return Finding("clock", "failed", found, "Set the clock, and keep it with NTP.")
    return Finding("clock", "ok", to_text(now))
