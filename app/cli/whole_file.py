"""Writing a file that is either complete or absent."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click


def refuse_existing(path: Path | None, *, overwrite: bool) -> None:
    """Raise `click.ClickException` when the path exists and may not be replaced."""
    if path is not None and path.exists() and not overwrite:
        raise click.ClickException(f"{path} exists already; --overwrite replaces it")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file (mode 0600) that takes its name, and replaces the one that had it, when the block succeeds."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error
