"""Rule files in an npm package: read one after another, never written to disk."""

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator

from app.federation.sources.collected import SourceError

MAX_MEMBERS = 50_000
_RULE = re.compile(r"[^/]+/(?P<path>rules/.+\.ya?ml)\Z")


def rule_files(package: bytes, limit: int) -> Iterator[tuple[str, bytes]]:
    """Yield `(path below the package's folder, content)` of each `rules/**/*.yaml` or `.yml`, in their order.

    Only regular files count; links, devices, sparse files and paths with `..` do not. Raises `SourceError`: too-large
    past `limit` bytes unpacked or `MAX_MEMBERS`, mixed-up when a path is there twice (npm would keep the last),
    unreadable when it is no gzipped tar.
    """
    seen: set[str] = set()
    try:
        stream = _Limited(gzip.GzipFile(fileobj=io.BytesIO(package)), limit)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for number, member in enumerate(archive, 1):
                if number > MAX_MEMBERS:
                    raise SourceError("too-large", f"The package has more than {MAX_MEMBERS} files.")
                path = _rule_path(member)
                content = archive.extractfile(member) if path else None
                if path is None or content is None:
                    continue
                if path in seen:
                    raise SourceError("mixed-up", "The package has two files of the same name.")
                seen.add(path)
                yield path, content.read()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError):
        raise SourceError("unreadable", "The package is no gzipped tar archive.") from None


def _rule_path(member: tarfile.TarInfo) -> str | None:
    match = _RULE.match(member.name)
    if match is None or not member.isreg() or member.issparse():
        return None
    path = match["path"]
    is_plain = path.isprintable() and not {"", ".", ".."} & set(member.name.split("/"))
    return path if is_plain else None


class _Limited(io.RawIOBase):
    """A stream that ends with a failure instead of growing without bounds."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        super().__init__()
        self._stream = stream
        self._limit = limit
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, or `SourceError` too-large past the limit."""
        content = self._stream.read(size if size >= 0 else self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise SourceError(
                "too-large", f"The package unpacks to more than {self._limit} bytes; see `max_bytes`."
            )
        return content
