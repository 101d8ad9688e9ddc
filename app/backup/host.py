"""The state folder of a backup or restore: its present instance, its lock, scratch room in it, free space."""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.backup import store
from app.backup.errors import BackupError
from app.signing.keys import SigningKeyError, SigningKeys
from app.storage import AlreadyRunning
from app.storage.connection import DATABASE_NAME
from app.storage.lock import ProcessLock
from app.storage.swap import finish_swap, is_swap_pending

_FOLDER = ".scratch-"
SPARE_BYTES = 16 * 1024 * 1024
"""Bytes that must stay free beside what is written, so that the server's own writes go on."""


@dataclass(frozen=True, slots=True)
class PresentInstance:
    """The instance in a state folder: issuer of its database, and its keys; None where that cannot be read."""

    issuer: str | None
    keys: SigningKeys | None

    @property
    def is_empty(self) -> bool:
        """True when nothing says which instance the folder belongs to."""
        return self.issuer is None and self.keys is None


def present_instance(state_dir: Path) -> PresentInstance:
    """Read what the folder holds; a damaged database or key counts as none."""
    try:
        issuer = store.describe_database(state_dir / DATABASE_NAME).issuer
    except BackupError:
        issuer = None
    try:
        keys = SigningKeys.read(state_dir)
    except SigningKeyError:
        keys = None
    return PresentInstance(issuer, keys)


@contextlib.contextmanager
def locked_state_folder(state_dir: Path, purpose: str) -> Iterator[None]:
    """Hold the state folder's lock, with no swap half done in it; raise `BackupError`."""
    require_owner(state_dir)
    try:
        with ProcessLock(state_dir, purpose):
            finish_swap(state_dir)
            yield
    except AlreadyRunning as error:
        raise BackupError(f"{error}: stop that first") from error


def finish_interrupted_restore(state_dir: Path) -> None:
    """Carry out the rest of an interrupted restore, if there is one; raise `BackupError`."""
    require_owner(state_dir)
    if is_swap_pending(state_dir):
        with locked_state_folder(state_dir, "threatcloud, finishing a restore"):
            pass


def require_owner(state_dir: Path) -> None:
    """Raise `BackupError` for root in another user's folder: the owner could not read what root leaves there."""
    if os.geteuid() == 0 and state_dir.is_dir() and (owner := state_dir.stat().st_uid) != 0:
        raise BackupError(f"{state_dir} belongs to user {owner}: run this as that user, not as root")


def replaced_name(state_dir: Path, now: datetime) -> str:
    """Return `replaced-<stamp>`, or a name like it that is free."""
    name = base = f"replaced-{now:%Y%m%dT%H%M%SZ}"
    number = 1
    while (state_dir / name).exists():
        number += 1
        name = f"{base}-{number}"
    return name


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a folder in `parent`, mode 0700, for the time of the block; clear away what killed processes left."""
    _sweep(parent, f"{_FOLDER}*")
    while True:
        path = parent / f"{_FOLDER}{secrets.token_hex(6)}"
        path.mkdir(mode=0o700)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if _is_mine(fd, path):
            break
        os.close(fd)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


@contextlib.contextmanager
def unfinished_file(path: Path) -> Iterator[Path]:
    """Make an empty file beside `path`, mode 0600; the caller renames it to `path` when it is finished.

    Otherwise it is gone after the block. Also clear away what killed processes left there.
    """
    _sweep(path.parent, ".*.tcbackup*.partial")
    while True:
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if _is_mine(fd, partial):
            break
        os.close(fd)
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)
        os.close(fd)


def _sweep(parent: Path, pattern: str) -> None:
    """Delete what is not locked: the process that made it is dead."""
    for path in parent.glob(pattern):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            finally:
                os.close(fd)


def _is_mine(fd: int, path: Path) -> bool:
    """Lock it; return False when another process cleared it away between making and locking it."""
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        return os.fstat(fd).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def require_space(needs: list[tuple[Path, int]]) -> None:
    """Raise `BackupError` unless there is room for each `(folder, bytes)`, those on one disk taken together."""
    wanted: dict[int, int] = {}
    for folder, size in needs:
        disk = folder.stat().st_dev
        wanted[disk] = wanted.get(disk, SPARE_BYTES) + size
        free = shutil.disk_usage(folder).free
        if free < wanted[disk]:
            raise BackupError(
                f"there is not enough space in {folder}: {_mebibytes(wanted[disk])} may be needed,"
                f" {_mebibytes(free)} are free"
            )


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
