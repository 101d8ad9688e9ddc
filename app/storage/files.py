"""Files that are either whole or not there, and that the disk has when a function returns.

A crash while a private file is written may leave `.<name>.<random>.partial` beside it, of mode 0600.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PRIVATE = 0o600


def write_private(path: Path, data: bytes) -> None:
    """Replace the file at `path` by one with this content and mode 0600, atomically and durably; raises `OSError`."""
    with private_file(path) as file:
        file.write(data)


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """Give a new file of mode 0600 to write to, which replaces the one at `path` when the block ends without error.

    Both the file and its name are on disk then; after an error nothing has changed. Raises `OSError`.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            yield file
        put_in_place(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def put_in_place(partial: Path, path: Path) -> None:
    """Rename the written file `partial` to `path`, in the same folder, once its content is on disk.

    Return when the new name is on disk too.
    """
    _sync(partial, os.O_RDONLY)
    partial.replace(path)
    sync_folder(path.parent)


def discard_partials(path: Path) -> None:
    """Delete what a crash left of earlier attempts to write `path`; no other process may be writing it."""
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Return when the names in `folder` are on disk: files that were made, renamed or deleted there."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def sync_tree(folder: Path) -> None:
    """Return when everything in and below `folder` is on disk."""
    for path in folder.iterdir():
        if path.is_dir():
            sync_tree(path)
        else:
            _sync(path, os.O_RDONLY)
    sync_folder(folder)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
