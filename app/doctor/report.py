"""`threatcloud doctor`: every check, the most basic ones first. Works beside a running server and without one."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime

from sqlite_utils import Database

from app.config import Config
from app.doctor import checks
from app.doctor.checks import Finding
from app.storage.connection import DATABASE_NAME, open_reader


def diagnose(config: Config) -> list[Finding]:
    """Run every check and return what each found."""
    place = config.state_dir
    try:
        return [
            *checks.check_sqlite(),
            *checks.check_state_folder(place),
            *checks.check_lock(place),
            *checks.check_backups(place, config.backup, datetime.now(UTC)),
            *checks.check_upstream_files(config.upstream),
            *checks.check_overlay_files(config.overlay),
            *_database(config),
        ]
    except PermissionError as error:
        found = f"{place} is closed to this user: {error.strerror}"
        todo = "Run this as the owner of the folder."
        return [*checks.check_sqlite(), Finding("state folder", "failed", found, todo)]


def _database(config: Config) -> Iterator[Finding]:
    path = config.state_dir / DATABASE_NAME
    if not path.is_file():
        yield Finding("database", "failed", f"{path} does not exist", "Start the server once.")
        return
    try:
        db = open_reader(path)
        try:
            yield from checks.check_database(db)
            if checks.has_this_schema(db):
                yield from _decisions(db, config)
        finally:
            db.conn.close()
    except sqlite3.Error as error:
        yield Finding(
            "database", "failed", str(error), "Restore the newest backup; keep this file for analysis."
        )


def _decisions(db: Database, config: Config) -> Iterator[Finding]:
    """Run the checks that need this release's schema: of upstreams, and of admins' decisions."""
    now = datetime.now(UTC)
    yield from checks.check_upstreams(db, config.upstream, now)
    yield from checks.check_overlay_entries(db, now)
