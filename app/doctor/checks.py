"""The doctor's checks: the machine, the database, backups, upstreams and overlay entries. They only read."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec
from sqlite_utils import Database

from app.backup.policy import BackupPolicy
from app.backup.status import BackupStatus, read_backup_status
from app.doctor import store
from app.federation.sources.collected import SourceError
from app.federation.sources.secret import read_upstream_key
from app.federation.sources.tls import tls_context
from app.federation.status import HINTS, UpstreamStatus, is_pulled, read_status
from app.federation.upstream import BundleUpstream, DirectoryUpstream, HttpUpstream, Upstream
from app.http.timestamps import from_text, to_text
from app.overlay.config import Overlay, ReplaceOverlay
from app.overlay.errors import ReplacementRefused
from app.overlay.texts import read_replacement
from app.overlay.views import OverlayEntrySummary, list_entries
from app.publication.store import freeze
from app.signing.jws import MAX_PEM_BYTES, StatementError, read_keys
from app.storage.connection import MINIMUM_SQLITE
from app.storage.lock import lock_holder
from app.storage.schema import MIGRATIONS
from app.storage.swap import is_swap_pending

WAL_RESET_FIXED = (3, 51, 3)
DISK_WARNING_BYTES = 2 * 1024**3
DISK_FAILURE_BYTES = 200 * 1024**2
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "glusterfs", "ceph"}
BUILT_AFTER = datetime(2026, 1, 1, tzinfo=UTC)
"""A clock before this instant is wrong."""
KNOWN_MIGRATIONS = frozenset(migration.__name__ for migration in MIGRATIONS)
OLD_BACKUP = timedelta(days=2)
"""Backups are made daily; one that failed once is no reason to wake somebody."""


class Finding(msgspec.Struct, frozen=True):
    """One check: its result and, unless it is `ok`, what to do."""

    check: str
    state: Literal["ok", "warning", "failed"]
    found: str
    todo: str = ""


def check_sqlite() -> Iterator[Finding]:
    """Check the SQLite version that this Python links."""
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


def check_state_folder(state_dir: Path) -> Iterator[Finding]:
    """Check the state folder's modes, its secret files, its disk and its file system."""
    if not state_dir.is_dir():
        yield Finding("state folder", "failed", f"{state_dir} does not exist", "Start the server once.")
        return
    mode = stat.S_IMODE(state_dir.stat().st_mode)
    if mode & 0o077:
        yield Finding("state folder", "warning", f"mode {mode:04o}", f"chmod 0700 {state_dir}")
    else:
        yield Finding("state folder", "ok", f"{state_dir}, mode {mode:04o}")
    yield from _check_secrets(state_dir)
    yield _check_disk(state_dir)
    yield _check_file_system(state_dir)


def _check_secrets(state_dir: Path) -> Iterator[Finding]:
    secrets = [path for path in (state_dir / "admin.key", *state_dir.glob("keys/*")) if path.is_file()]
    loose = [path for path in secrets if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if loose:
        names = " ".join(str(path) for path in loose)
        yield Finding("secret files", "failed", f"{len(loose)} readable by others", f"chmod 0600 {names}")
    else:
        yield Finding("secret files", "ok", f"{len(secrets)}, readable by their owner only")


def _check_disk(state_dir: Path) -> Finding:
    free = shutil.disk_usage(state_dir).free
    found = f"{free / 1024**3:.1f} GiB free"
    if free < DISK_FAILURE_BYTES:
        return Finding("disk", "failed", found, "Free space now: writes are about to be refused.")
    if free < DISK_WARNING_BYTES:
        return Finding("disk", "warning", found, "Free space, or move the state folder to a larger disk.")
    return Finding("disk", "ok", found)


def _check_file_system(state_dir: Path) -> Finding:
    """Check the kind of file system: SQLite's write-ahead log needs shared memory, which network ones do not give."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount, found, *_ = line.split(" ")
        if state_dir.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, found
    if kind in NETWORK_FILE_SYSTEMS:
        return Finding("file system", "failed", kind, "Put the state folder on a local disk.")
    return Finding("file system", "ok", kind)


def check_lock(state_dir: Path) -> Iterator[Finding]:
    """Report which process holds the state folder."""
    holder = lock_holder(state_dir) if state_dir.is_dir() else None
    yield Finding("lock", "ok", f"held by {holder}" if holder else "free: no server runs")


def check_database(db: Database) -> Iterator[Finding]:
    """Check journal mode, integrity, schema, and the clock against the newest publication."""
    mode = store.journal_mode(db)
    yield Finding(
        "pragmas",
        "ok" if mode == "wal" else "failed",
        f"the file has journal_mode={mode}; the writer sets {store.writer_settings()}",
        "" if mode == "wal" else "Start the server once.",
    )
    if problems := store.integrity_problems(db):
        yield Finding("integrity", "failed", "; ".join(problems), "Restore the newest backup.")
    else:
        yield Finding("integrity", "ok", "quick_check found nothing")
    applied = store.applied_migrations(db)
    if applied - KNOWN_MIGRATIONS:
        yield Finding(
            "schema",
            "failed",
            f"newer than this release: {sorted(applied - KNOWN_MIGRATIONS)}",
            "Upgrade again.",
        )
    elif KNOWN_MIGRATIONS - applied:
        yield Finding(
            "schema",
            "warning",
            f"not migrated yet: {sorted(KNOWN_MIGRATIONS - applied)}",
            "Start the server.",
        )
    else:
        yield Finding("schema", "ok", f"{len(applied)} migrations")
    yield _check_clock(db)


def has_this_schema(db: Database) -> bool:
    """Return True when the schema is that of this release."""
    return store.applied_migrations(db) == KNOWN_MIGRATIONS


def _check_clock(db: Database) -> Finding:
    """Check the clock: set back, it would make new publications look older than old ones."""
    now = datetime.now(UTC)
    newest = store.newest_publication_at(db)
    if now < BUILT_AFTER or (newest and (from_text(newest) - now).total_seconds() > 60):
        found = f"{to_text(now)}, but the newest publication is of {newest}"
        return Finding("clock", "failed", found, "Set the clock, and keep it with NTP.")
    return Finding("clock", "ok", to_text(now))


def check_backups(state_dir: Path, policy: BackupPolicy, now: datetime) -> Iterator[Finding]:
    """Check the last attempt, the last verified backup, and for an interrupted restore."""
    status = read_backup_status(state_dir)
    if is_swap_pending(state_dir):
        todo = "Start the server, which finishes it."
        yield Finding("restore", "failed", "a restore was interrupted", todo)
    if status.is_failing and status.failed is not None:
        found = f"the last attempt failed, at {status.failed.at}: {status.failed.why}"
        yield Finding("backup: last attempt", "warning", found, "Fix that, then: threatcloud backup create")
    yield _backup_age(status, now)
    if status.verified is not None and not status.verified.keys and policy.keys != "never":
        found = "the private keys are not in it: restored on another machine, every issued key would be void"
        todo = "Set backup.recipients (threatcloud backup keygen), or keep a copy of <state>/keys yourself."
        yield Finding("backup: keys", "warning", found, todo)


def _backup_age(status: BackupStatus, now: datetime) -> Finding:
    if status.verified is None:
        return Finding(
            "backup", "warning", "none was made yet", "Make one every day: threatcloud backup create"
        )
    found = f"verified at {status.verified.at}: {status.verified.file}"
    if now - from_text(status.verified.at) > OLD_BACKUP:
        todo = "Find out why none was made since, then: threatcloud backup create"
        return Finding("backup", "warning", f"the last one is old, {found}", todo)
    return Finding("backup", "ok", found)


def check_upstream_files(upstreams: Sequence[Upstream]) -> Iterator[Finding]:
    """Check the files and folders of upstreams that this user must be able to use.

    A key in the environment, or one that systemd hands over, is the server's alone and is not checked.
    """
    for upstream in upstreams:
        for error in _file_errors(upstream):
            code, message = error.failure.code, error.failure.message
            yield Finding(f"upstream {upstream.name}: files", "failed", message, HINTS[code])


def check_upstreams(db: Database, upstreams: Sequence[Upstream], now: datetime) -> Iterator[Finding]:
    """Check each upstream, what is held or set aside from it, and for a rollback that freezes all of them."""
    frozen = freeze(db)
    if frozen is not None:
        found = (
            f"since {frozen.since} the set of publication {frozen.serial} is served again, nothing newer,"
            f" and nothing is pulled: {frozen.reason}"
        )
        yield Finding("rollback", "warning", found, "When the reason is gone: threatcloud publication resume")
    for upstream in upstreams:
        status = read_status(db, upstream, None, now)
        yield _upstream_health(upstream, status)
        if status.held:
            found, todo = f"{status.held} changes wait", f"threatcloud upstream list-pending {status.name}"
            yield Finding(f"upstream {status.name}: held", "warning", found, todo)
        if status.set_aside:
            found = f"{status.set_aside} offered rules are not taken"
            todo = f"threatcloud upstream list-set-aside {status.name}"
            yield Finding(f"upstream {status.name}: set aside", "warning", found, todo)


def _upstream_health(upstream: Upstream, status: UpstreamStatus) -> Finding:
    check = f"upstream {status.name}"
    since = f"the last success was {status.last_success}" if status.last_success else "it never succeeded"
    if status.failure is not None:
        code, message, failures = status.failure.code, status.failure.message, status.failure.failures
        age, limit = status.stale_seconds, status.stale_after
        is_old = age is None or (limit is not None and age > limit)
        found = f"failing ({code}, {failures} in a row), {since}: {message}"
        return Finding(check, "failed" if is_old else "warning", found, HINTS[code])
    if status.state == "never":
        pull = f"threatcloud upstream pull {status.name}"
        todo = pull if is_pulled(upstream) else f"threatcloud bundle import FILE --upstream {status.name}"
        return Finding(check, "warning", "nothing was ever pulled from it", todo)
    if status.state == "stale":
        todo = f"Start the server, or: threatcloud upstream pull {status.name}"
        return Finding(check, "failed", f"stale: {since}", todo)
    return Finding(check, "ok", f"{status.rules} rules, version {status.version or '-'}, {since}")


def _file_errors(upstream: Upstream) -> Iterator[SourceError]:
    try:
        if isinstance(upstream, HttpUpstream):
            if upstream.key is not None and upstream.key.startswith("file:"):
                read_upstream_key(upstream.key)
            if upstream.ca_file is not None or upstream.client_certificate is not None:
                tls_context(upstream)
        elif isinstance(upstream, DirectoryUpstream):
            _check_access(Path(upstream.path), os.R_OK | os.X_OK)
        elif isinstance(upstream, BundleUpstream):
            with Path(upstream.key_file).open("rb") as file:
                read_keys(file.read(MAX_PEM_BYTES + 1))
            if upstream.path is not None and Path(upstream.path).exists():
                _check_access(Path(upstream.path), os.R_OK)
    except SourceError as error:
        yield error
    except StatementError as error:
        yield SourceError(error.code, str(error))
    except OSError as error:
        yield SourceError("unreadable", f"{error.filename}: {error.strerror}")


def _check_access(path: Path, mode: int) -> None:
    if not path.exists():
        raise SourceError("not-found", f"path: {path} does not exist")
    if not os.access(path, mode):
        raise SourceError("unreadable", f"path: {path} is closed to this user")


def check_overlay_files(declared: Sequence[Overlay]) -> Iterator[Finding]:
    """Check configured texts that are to replace a rule; name everything that is wrong with one."""
    for entry in declared:
        if isinstance(entry, ReplaceOverlay):
            try:
                read_replacement(entry)
            except ReplacementRefused as refused:
                found = "; ".join(f"{m.name}: {m.field}: {m.message}" for m in refused.errors)
                todo = "Fix the file and reload; until then upstream's text is served."
                yield Finding(f"overlay {entry.rule}: text_file", "warning", found, todo)


def check_overlay_entries(db: Database, now: datetime) -> Iterator[Finding]:
    """Yield one finding for each entry that needs attention, and one for all others together."""
    listed = list_entries(db, to_text(now))
    odd = [finding for entry in listed if (finding := _odd_entry(entry)) is not None]
    yield from odd
    if len(listed) > len(odd):
        yield Finding("overlay", "ok", f"{len(listed) - len(odd)} in force")


def _odd_entry(entry: OverlayEntrySummary) -> Finding | None:
    check, found = f"overlay {entry.rule_id}: {entry.action}", _oddity(entry)
    if found is None:
        return None
    todo = f"threatcloud overlay show {entry.id}"
    if entry.state != "active":
        todo = (
            "Take it out of [[overlay]] in the configuration, or correct it there."
            if entry.declared == "config"
            else f"threatcloud overlay remove {entry.id}"
        )
    return Finding(check, "warning", f"{found} ({entry.owner}: {entry.reason})", todo)


def _oddity(entry: OverlayEntrySummary) -> str | None:
    if entry.state == "expired":
        return f"it ended at {entry.expires_at}"
    if entry.state == "unusable":
        return entry.problem
    if entry.state == "idle":
        return "it changes nothing: " + (
            "no upstream has the rule now" if entry.upstream is None else "upstream says the same"
        )
    return "upstream has changed the rule since" if entry.base_moved else None
