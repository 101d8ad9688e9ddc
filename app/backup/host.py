"""The state folder that something is restored into: what is there now, and who may do it.

Room to work in that nobody mistakes for a result, and that does not stay, however the work ends.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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


@dataclass(frozen=True, slots=True)
class PresentInstance:
    """What a state folder holds: the instance of its database, and its keys; None where that cannot be read."""

    issuer: str | None
    keys: SigningKeys | None

    @property
    def is_empty(self) -> bool:
        """Is there nothing that says whose folder it is?"""
        return self.issuer is None and self.keys is None


def present_instance(state_dir: Path) -> PresentInstance:
    """Look at what is there; a damaged database or key is as good as none."""
    try:
        issuer = store.describe_database(state_dir / DATABASE_NAME).issuer
    except BackupError:
        issuer = None
    try:
        keys = SigningKeys.read(state_dir)
    except SigningKeyError:
        keys = None
    return PresentInstance(issuer, keys)


@contextmanager
def locked_state_folder(state_dir: Path, purpose: str) -> Iterator[None]:
    """Hold the state folder's lock, with no exchange half done in it; raises `BackupError`."""
    require_owner(state_dir)
    try:
        with ProcessLock(state_dir, purpose):
            finish_swap(state_dir)
            yield
    except AlreadyRunning as error:
        raise BackupError(f"{error}: stop that first") from error


def finish_interrupted_restore(state_dir: Path) -> None:
    """Carry out the rest of a restore that was interrupted, if there is one; raises `BackupError`."""
    require_owner(state_dir)
    if is_swap_pending(state_dir):
        with locked_state_folder(state_dir, "threatcloud, finishing a restore"):
            pass


def require_owner(state_dir: Path) -> None:
    """Raise `BackupError` for root in a folder of somebody else, who could not read what root leaves there."""
    if os.geteuid() == 0 and state_dir.is_dir() and (owner := state_dir.stat().st_uid) != 0:
        raise BackupError(f"{state_dir} belongs to user {owner}: run this as that user, not as root")


def replaced_name(state_dir: Path, now: datetime) -> str:
    """`replaced-<stamp>`, a name that is free."""
    name = base = f"replaced-{now:%Y%m%dT%H%M%SZ}"
    number = 1
    while (state_dir / name).exists():
        number += 1
        name = f"{base}-{number}"
    return name


_FOLDER = ".scratch-"
SPARE_BYTES = 16 * 1024 * 1024
"""What must stay free beside what is written, so that the server's own writes go on."""


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent` for its owner only, gone after the block; clears away what killed processes left."""
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
    """A new, empty file beside `path`, for its owner only; whoever finishes it gives it the name `path`.

    It is gone after the block unless that happened; also clears away what killed processes left there.
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
    """Delete what nobody has locked: the process that made it is dead."""
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
    """Lock it; False when somebody cleared it away between making and locking it."""
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
