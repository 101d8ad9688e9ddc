"""How far a long act is: bars on a terminal, nothing elsewhere."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """One bar on stderr, or none: every method may be called either way."""

    def __init__(self, progress: "Progress | None" = None, task: "TaskID | None" = None) -> None:
        self._progress = progress
        self._task = task

    def advance(self, amount: int) -> None:
        """Move the bar by so many items or bytes."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, amount)

    def resize(self, total: int) -> None:
        """Set how many items or bytes there are in all."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, total=total)


@contextlib.contextmanager
def progress_bar(label: str, total: int | None, *, quiet: bool, in_bytes: bool = False) -> Iterator[Bar]:
    """Draw a bar for `total` items, or bytes, while the block runs; it is gone afterwards."""
    if quiet or not sys.stderr.isatty():
        yield Bar()
        return
    from rich.console import Console  # noqa: PLC0415 (only terminals need it)
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
    )

    counter = DownloadColumn() if in_bytes else MofNCompleteColumn()
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        counter,
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        yield Bar(progress, progress.add_task(label, total=total))
