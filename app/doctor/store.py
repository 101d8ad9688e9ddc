"""The SQL of the doctor: the file's own state, in a database of whatever release."""

from sqlite_utils import Database

from app.storage.connection import WRITER_PRAGMAS


def journal_mode(db: Database) -> str:
    """Return the journal mode of the file."""
    mode: str = db.execute("PRAGMA journal_mode").fetchone()[0]
    return mode


def integrity_problems(db: Database) -> list[str]:
    """Return the first five problems that SQLite's quick check finds."""
    return [row[0] for row in db.execute("PRAGMA quick_check(5)") if row[0] != "ok"]


def applied_migrations(db: Database) -> set[str]:
    """Return the names of the migrations that the file has."""
    return {row[0] for row in db.execute("SELECT name FROM _sqlite_migrations")}


def newest_publication_at(db: Database) -> str | None:
    """Return the instant of the newest publication, None before the first."""
    newest: str | None = db.execute("SELECT max(published_at) FROM publication").fetchone()[0]
    return newest


def writer_settings() -> str:
    """Return the settings that the writer's connection makes for itself, such as `synchronous=FULL`."""
    return ", ".join(pragma.removeprefix("PRAGMA ") for pragma in WRITER_PRAGMAS[2:])
