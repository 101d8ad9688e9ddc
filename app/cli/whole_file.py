"""Writing a file that is either complete or absent."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from app.storage.files import private_file


def refuse_existing(path: Path | None, *, overwrite: bool) -> None:
    """Raise `click.ClickException` when the path exists and may not be replaced."""
    if path is not None and path.exists() and not overwrite:
        raise click.ClickException(f"{path} exists already; --overwrite replaces it")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file (mode 0600) that takes its name, and replaces the one that had it, when the block succeeds."""
    try:
        with private_file(path) as file:
            yield file
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error
