"""What `threatcloud doctor` looks at. Reads only; works beside a running server and without one."""

import shutil
import sqlite3
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from app.config import Config
from app.storage.connection import MINIMUM_SQLITE, WRITER_PRAGMAS, open_reader
from app.storage.lock import lock_holder
from app.storage.schema import MIGRATIONS
from app.storage.storage import DATABASE_NAME
from app.wire.instants import from_text, to_text

WAL_RESET_FIXED = (3, 51, 3)
DISK_WARNING_BYTES = 2 * 1024**3
DISK_FAILURE_BYTES = 200 * 1024**2
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "glusterfs", "ceph"}
BUILT_AFTER = datetime(2026, 1, 1, tzinfo=UTC)


class Finding(msgspec.Struct, frozen=True):
    """One check: what was found and, unless it is fine, what to do."""

    check: str
    state: Literal["ok", "warning", "failed"]
    found: str
    todo: str = ""


def diagnose(config: Config) -> list[Finding]:
    """Run every check."""
    place = config.state_dir
    try:
        return [*_sqlite(), *_state_dir(place), *_lock(place), *_database(place)]
    except PermissionError as error:
        found = f"{place} is closed to this user: {error.strerror}"
        return [*_sqlite(), Finding("state folder", "failed", found, "Run this as the owner of the folder.")]


def _sqlite() -> Iterator[Finding]:
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
        todo = "Use a Python that links SQLite 3.37 or newer."
        yield Finding("sqlite version", "failed", version, todo)
    elif sqlite3.sqlite_version_info < WAL_RESET_FIXED:
        yield Finding(
            "sqlite version", "ok", f"{version} (its WAL-reset defect needs two writers; there is one)"
        )
    else:
        yield Finding("sqlite version", "ok", version)


def _state_dir(state_dir: Path) -> Iterator[Finding]:
    if not state_dir.is_dir():
        yield Finding("state folder", "failed", f"{state_dir} does not exist", "Start the server once.")
        return
    mode = stat.S_IMODE(state_dir.stat().st_mode)
    if mode & 0o077:
        yield Finding("state folder", "warning", f"mode {mode:04o}", f"chmod 0700 {state_dir}")
    else:
        yield Finding("state folder", "ok", f"{state_dir}, mode {mode:04o}")
    yield from _secrets(state_dir)
    yield _disk(state_dir)
    yield _file_system(state_dir)


def _secrets(state_dir: Path) -> Iterator[Finding]:
    secrets = [path for path in (state_dir / "admin.key", *state_dir.glob("keys/*")) if path.is_file()]
    loose = [path for path in secrets if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if loose:
        names = " ".join(str(path) for path in loose)
        yield Finding("secret files", "failed", f"{len(loose)} readable by others", f"chmod 0600 {names}")
    else:
        yield Finding("secret files", "ok", f"{len(secrets)}, readable by their owner only")


def _disk(state_dir: Path) -> Finding:
    free = shutil.disk_usage(state_dir).free
    found = f"{free / 1024**3:.1f} GiB free"
    if free < DISK_FAILURE_BYTES:
        return Finding("disk", "failed", found, "Free space now: writes are about to be refused.")
    if free < DISK_WARNING_BYTES:
        return Finding("disk", "warning", found, "Free space, or move the state folder to a larger disk.")
    return Finding("disk", "ok", found)


def _file_system(state_dir: Path) -> Finding:
    """SQLite's write-ahead log needs shared memory, which network file systems do not give."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount, found, *_ = line.split(" ")
        if state_dir.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, found
    if kind in NETWORK_FILE_SYSTEMS:
        return Finding("file system", "failed", kind, "Put the state folder on a local disk.")
    return Finding("file system", "ok", kind)


def _lock(state_dir: Path) -> Iterator[Finding]:
    holder = lock_holder(state_dir) if state_dir.is_dir() else None
    yield Finding("lock", "ok", f"held by {holder}" if holder else "free: no server runs")


def _database(state_dir: Path) -> Iterator[Finding]:
    path = state_dir / DATABASE_NAME
    if not path.is_file():
        yield Finding("database", "failed", f"{path} does not exist", "Start the server once.")
        return
    try:
        db = open_reader(path)
        try:
            yield from _contents(db.conn)
        finally:
            db.conn.close()
    except sqlite3.Error as error:
        yield Finding(
            "database", "failed", str(error), "Restore the newest backup; keep this file for analysis."
        )


def _contents(connection: sqlite3.Connection) -> Iterator[Finding]:
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
    applied = {row[0] for row in connection.execute("SELECT name FROM _sqlite_migrations")}
    known = {migration.__name__ for migration in MIGRATIONS}
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


def _clock(connection: sqlite3.Connection) -> Finding:
    """A clock that was set back would make new publications look older than old ones."""
    now = datetime.now(UTC)
    newest = connection.execute("SELECT max(published_at) FROM publication").fetchone()[0]
    if now < BUILT_AFTER or (newest and (from_text(newest) - now).total_seconds() > 60):
        found = f"{to_text(now)}, but the newest publication is of {newest}"
        return Finding("clock", "failed", found, "Set the clock, and keep it with NTP.")
    return Finding("clock", "ok", to_text(now))
