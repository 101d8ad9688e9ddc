"""A gzip'd tar of plain files, in the only spelling that is read back.

Whatever unpacks tar files can read it (`tar tzf FILE`), but nothing else than what `pack` writes is accepted: every
header is compared with the one that `pack` would write for that name and size. So there are no links, folders,
devices, extended headers or paths to worry about, and two archives with the same members are the same bytes.
"""

import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator

from app.federation.sources.collected import SourceError
from app.http.problem import quoted

MAX_BYTES = 64 * 1024 * 1024
"""Largest file; 785 published rules take 2.0 MB."""
MAX_UNPACKED_BYTES = 256 * 1024 * 1024
"""Largest content, headers included."""

_BLOCK = 512
_END = bytes(2 * _BLOCK)
_GZIP = 31  # zlib's number for a gzip wrapper with the largest window
_PIECE = 256 * 1024
_SIZE = re.compile(rb"[0-7]{11}\0")


def pack(members: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """The archive of these `(name, content)`, piece by piece; names are ASCII of at most 100 characters.

    Raises `SourceError` (`too-large`) where the result could not be read back.
    """
    deflate = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    packed = unpacked = 0
    for block in _blocks(members):
        unpacked += len(block)
        piece = deflate.compress(block)
        packed += len(piece)
        _bound(packed, unpacked)
        yield piece
    rest = deflate.flush()
    _bound(packed + len(rest), unpacked)
    yield rest


def _blocks(members: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    for name, content in members:
        yield _header(name, len(content)) + content + bytes(-len(content) % _BLOCK)
    yield _END


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _bound(packed: int, unpacked: int) -> None:
    if packed > MAX_BYTES:
        raise SourceError("too-large", f"The file is larger than {MAX_BYTES} bytes.")
    if unpacked > MAX_UNPACKED_BYTES:
        raise SourceError("too-large", f"The content is larger than {MAX_UNPACKED_BYTES} bytes.")


class Unpacker:
    """Reads an archive member by member, in the order that the caller expects them, never more than it asks for.

    Every method raises `SourceError`: `shape`, `integrity`, `truncated`, `too-large`.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = filter(None, chunks)
        self._inflate = zlib.decompressobj(_GZIP)
        self._ready = bytearray()
        self._packed = self._unpacked = 0

    def member(self, name: str, max_bytes: int) -> bytes:
        """The content of the next member, which must have this name."""
        header = self._take(_BLOCK)
        found = header[:100].rstrip(b"\0").decode("ascii", "replace")
        if found != name:
            raise SourceError("integrity", f"{_shown(found)} stands where {name} must be.")
        octal = header[124:136]
        size = int(octal[:11], 8) if _SIZE.fullmatch(octal) else -1
        if size < 0 or header != _header(name, size):
            raise SourceError("integrity", f"{name} is not stored as a plain file.")
        if size > max_bytes:
            raise SourceError("too-large", f"{name} is larger than {max_bytes} bytes.")
        content = self._take(size)
        if any(self._take(-size % _BLOCK)):
            raise SourceError("integrity", f"Something is hidden behind {name}.")
        return content

    def finish(self) -> None:
        """Be sure that this was all: nothing follows the last member, in the archive or behind it."""
        if self._take(len(_END)) != _END:
            raise SourceError("integrity", "It holds more than its manifest lists.")
        while not (self._ready or self._inflate.eof):
            self._more()
        if self._ready or self._inflate.unused_data or next(self._chunks, b""):
            raise SourceError("integrity", "Something follows its end.")

    def _take(self, size: int) -> bytes:
        while len(self._ready) < size:
            if self._inflate.eof:
                raise SourceError("truncated", "It ends before its last member.")
            self._more()
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def _more(self) -> None:
        chunk = self._inflate.unconsumed_tail
        if not chunk:
            chunk = next(self._chunks, b"")
            self._packed += len(chunk)
        try:
            piece = self._inflate.decompress(chunk, _PIECE)
        except zlib.error:
            if not self._unpacked:
                raise SourceError("shape", "It is not a bundle (not gzip).") from None
            raise SourceError(
                "integrity", "It is damaged: its checksum or compression does not fit."
            ) from None
        if not chunk and not piece and not self._inflate.eof:
            raise SourceError("truncated", "It ends in the middle.")
        self._unpacked += len(piece)
        _bound(self._packed, self._unpacked)
        self._ready += piece


def _shown(name: str) -> str:
    return quoted(name) if name else "The end"
