"""The form of a backup: a gzip'd tar of plain files in the one spelling of `app.archives`, and a seal behind it.

`tar xzf` reads it. The seal is a gzip member of its own behind the tar, with the SHA-256 of everything before it:
damage and truncation, of the compression too, show before anything is unpacked. The seal protects against accidents
only, since anybody can compute a digest; the signed manifest protects against attackers.
"""

import hashlib
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from app import archives
from app.archives import PIECE_BYTES, ArchiveError, ArchiveForm, ArchiveReader
from app.backup.errors import BackupError

FORM = ArchiveForm("a backup", tarfile.GNU_FORMAT, 0o600)
_SEAL_TEXT = "threatcloud backup sha256:{}\n"


@contextmanager
def archive_errors() -> Iterator[None]:
    """Turn an `ArchiveError` into a `BackupError`, whose sentences follow a file name and a colon."""
    try:
        yield
    except ArchiveError as error:
        sentence = str(error).removesuffix(".")
        raise BackupError(f"{sentence[0].lower()}{sentence[1:]}") from None


def pack(members: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yield the sealed archive of these `(name, size, content)` in pieces, none empty; raise `BackupError`."""
    digest = hashlib.sha256()
    with archive_errors():
        for piece in archives.pack(FORM, members):
            digest.update(piece)
            yield piece
    yield seal(digest.digest())


def seal(digest: bytes) -> bytes:
    """Return the seal of an archive whose bytes have this SHA-256."""
    text = _SEAL_TEXT.format(digest.hex()).encode("ascii")
    header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    stored = struct.pack("<BHH", 1, len(text), len(text) ^ 0xFFFF) + text
    return header + stored + struct.pack("<II", zlib.crc32(text), len(text))


SEAL_BYTES = len(seal(bytes(32)))


def open_archive(file: BinaryIO) -> ArchiveReader:
    """Check the seal and return a reader of what it covers; use it within `archive_errors`."""
    size = check_seal(file)
    file.seek(0)
    return ArchiveReader(FORM, _pieces(file, size))


def check_seal(file: BinaryIO) -> int:
    """Return the size of the sealed archive; raise `BackupError` unless every bit is as it was written."""
    size = file.seek(0, 2) - SEAL_BYTES
    file.seek(0)
    digest = hashlib.sha256()
    for piece in _pieces(file, size):
        digest.update(piece)
    if size <= 0 or file.read() != seal(digest.digest()):
        raise BackupError("it is damaged, or no backup: it was cut off or altered")
    return size


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (piece := file.read(min(PIECE_BYTES, size))):
        size -= len(piece)
        yield piece
