"""The form of a backup: a gzip'd tar of plain files, and a seal.

`tar xzf` reads it. The seal is a gzip member of its own behind the tar, with the SHA-256 of everything before it:
what was cut off or altered on the way, in the packing too, shows before anything is unpacked. That is no protection
against whoever can compute a digest; the signed manifest is.

Nothing is unpacked by what the archive says of itself: the reader asks for the names it expects, in order, and gives
each content as pieces to whoever asked. So there are no paths, links or devices to worry about.
"""

import hashlib
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from app.backup.errors import BackupError

PIECE = 256 * 1024
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_GZIP = 31  # zlib's number for a gzip wrapper with the largest window
_SEAL_TEXT = "threatcloud backup sha256:{}\n"


def pack(members: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """The archive of these `(name, size, content)`, piece by piece."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    digest = hashlib.sha256()
    for block in _blocks(members):
        if piece := deflate.compress(block):
            digest.update(piece)
            yield piece
    rest = deflate.flush()
    digest.update(rest)
    yield rest + seal(digest.digest())


def _blocks(members: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    for name, size, content in members:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        yield info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")
        written = 0
        for piece in content:
            written += len(piece)
            yield piece
        if written != size:
            raise BackupError(f"{name} changed while it was being written")
        yield bytes(-size % _BLOCK)
    yield _END


def seal(digest: bytes) -> bytes:
    """What stands behind an archive whose bytes have this SHA-256."""
    text = _SEAL_TEXT.format(digest.hex()).encode("ascii")
    header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    stored = struct.pack("<BHH", 1, len(text), len(text) ^ 0xFFFF) + text
    return header + stored + struct.pack("<II", zlib.crc32(text), len(text))


SEAL_BYTES = len(seal(bytes(32)))


def check_seal(file: BinaryIO) -> int:
    """The size of what the seal is about; raises `BackupError` unless every bit of the file is as it was written."""
    size = file.seek(0, 2) - SEAL_BYTES
    file.seek(0)
    digest = hashlib.sha256()
    for piece in _read(file, size):
        digest.update(piece)
    if size <= 0 or file.read() != seal(digest.digest()):
        raise BackupError("it is damaged, or no backup: it was cut off or altered")
    return size


def _read(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (piece := file.read(min(PIECE, size))):
        size -= len(piece)
        yield piece


class Unpacker:
    """Reads a sealed archive member by member; every method raises `BackupError`."""

    def __init__(self, file: BinaryIO) -> None:
        size = check_seal(file)
        file.seek(0)
        self._chunks = _read(file, size)
        self._inflate = zlib.decompressobj(_GZIP)
        self._rest = b""

    def member(self, name: str, most: int) -> tuple[int, Iterator[bytes]]:
        """`(size, content)` of the next member, a plain file of this name and at most `most` bytes.

        The content must be read to its end before the next member.
        """
        header = b"".join(self._take(_BLOCK))
        try:
            info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError):
            raise BackupError(f"something else stands where {name} must be") from None
        if info.name != name or info.type != tarfile.REGTYPE or info.linkname:
            raise BackupError(f"{info.name[:100]!a} stands where the plain file {name} must be")
        if not 0 <= info.size <= most:
            raise BackupError(f"{name} has {info.size} bytes, more than its {most}")
        return info.size, self._content(name, info.size)

    def _content(self, name: str, size: int) -> Iterator[bytes]:
        yield from self._take(size)
        if any(map(any, self._take(-size % _BLOCK))):
            raise BackupError(f"something is hidden behind {name}")

    def finish(self) -> None:
        """Be sure that this was all."""
        if b"".join(self._take(len(_END))) != _END or self._rest:
            raise BackupError("it holds more than its manifest lists")
        while not self._inflate.eof:
            if self._more():
                raise BackupError("it holds more than its manifest lists")
        if self._inflate.unused_data or next(self._chunks, b""):
            raise BackupError("something follows its end")

    def _take(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._rest or self._more()
            self._rest = piece[size:]
            size -= len(piece) - len(self._rest)
            yield piece[: len(piece) - len(self._rest)]

    def _more(self) -> bytes:
        """The next piece of the tar; may be empty only at the end of its compression."""
        while not self._inflate.eof:
            chunk = self._inflate.unconsumed_tail or next(self._chunks, b"")
            try:
                piece = self._inflate.decompress(chunk, PIECE)
            except zlib.error:
                raise BackupError("it is damaged: it cannot be unpacked") from None
            if piece or self._inflate.eof:
                return piece
            if not chunk:
                break
        raise BackupError("it is damaged: it ends before its last member")
