"""Room to work in that nobody mistakes for a result, and that does not stay, however the work ends."""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from app.backup.errors import BackupError

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
