"""The spool: the raw texts of one pull in one file, so that neither process holds them all in memory."""

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from app.federation.sources.collected import Item, Source, SourceError

MAX_ITEMS = 20_000
"""Most rules in one pull; upstream publishes 785."""

MAX_BYTES = 67_108_864
"""Most bytes of rule texts from a source that has no `max_bytes` of its own."""


class Spool:
    """Writes texts one after another; use it as a context manager, then take `items`.

    The file (0600) is emptied first and its folder (0700) made; a symbolic link in its place is not followed.
    Raises `OSError`, and `SourceError` too-large.
    """

    def __init__(self, path: str, max_bytes: int = MAX_BYTES) -> None:
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._items: list[Item] = []
        self._end = 0

    def __enter__(self) -> Self:
        folder = self._path.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        os.fchmod(descriptor, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, name: str, text: bytes, *, source: Source = "atr", published_at: str = "") -> None:
        """Append a text as it came, UTF-8 or not."""
        if len(self._items) >= MAX_ITEMS:
            raise SourceError("too-large", f"There are more than {MAX_ITEMS} rules.")
        if self._end + len(text) > self._max_bytes:
            raise SourceError("too-large", f"The rules are larger than {self._max_bytes} bytes together.")
        self._file.write(text)
        digest = hashlib.sha256(text).hexdigest()
        self._items.append(Item(name, self._end, len(text), digest, source, published_at))
        self._end += len(text)

    @property
    def items(self) -> tuple[Item, ...]:
        """What was added, in that order."""
        return tuple(self._items)


def read_span(path: str, start: int, size: int) -> bytes:
    """Read one text back; raises `OSError`, and `EOFError` when the file ends before it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        file.seek(start)
        text = file.read(size)
    if len(text) != size:
        raise EOFError(f"{path} ends before the text at {start}")
    return text
