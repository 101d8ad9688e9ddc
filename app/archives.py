"""Read untrusted archives: strictly, piece by piece, and never more than was asked for.

Three readers, for three degrees of strictness:

* `ArchiveReader` reads a gzip'd tar in one spelling only, the one that `pack` writes (bundles, backups). The caller
  names each member that must come next, and every header is compared with the header that `pack` would write for that
  name and size. So there are no links, folders, devices, extended headers or paths to consider, and nothing may
  follow the last member, inside the archive or behind it. Every tar program can unpack such a file.
* `plain_files` reads a gzip'd tar that any program may have written (an npm package): plain files only, bounded in
  number and in size.
* `BoundedGunzip` takes the gzip coding off a stream (an HTTP body) and stops at a given size.

A gzip bomb therefore costs neither memory nor disk. Every refusal is an `ArchiveError`.
"""

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from app.http.problem import quoted

ArchiveErrorCode = Literal["shape", "integrity", "truncated", "too-large", "too-many", "unreadable"]

PIECE_BYTES = 256 * 1024
"""Most bytes that are unpacked at once."""

_BLOCK = 512
_END = bytes(2 * _BLOCK)
_GZIP = 16 + zlib.MAX_WBITS
_OCTAL_SIZE = re.compile(rb"[0-7]{11}\0")
_BINARY_SIZE = 0o200


class ArchiveError(Exception):
    """The archive is not accepted, or cannot be written; the message is one sentence.

    Codes: `shape` (not gzip at all), `integrity` (other content than it must have), `truncated`, `too-large`,
    `too-many` (members), `unreadable` (not a gzip'd tar).
    """

    def __init__(self, code: ArchiveErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ArchiveErrorCode = code


@dataclass(frozen=True, slots=True)
class ArchiveForm:
    """The one spelling of a kind of archive. `kind` names it in refusals, such as `a bundle`; limits are in bytes."""

    kind: str
    tar_format: Literal[0, 1]
    """`tarfile.USTAR_FORMAT` or `tarfile.GNU_FORMAT`; the latter can store members of 8 GiB and more."""
    mode: int
    max_packed: int | None = None
    max_unpacked: int | None = None

    def header(self, name: str, size: int) -> bytes:
        """Return the tar header of a plain file; raise `ValueError` for a name or size that it cannot store."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, self.mode
        return info.tobuf(self.tar_format, "ascii", "strict")

    def check_size(self, packed: int, unpacked: int) -> None:
        """Raise `ArchiveError` (`too-large`) when this many bytes are more than the form allows."""
        if self.max_packed is not None and packed > self.max_packed:
            raise ArchiveError("too-large", f"The file is larger than {self.max_packed} bytes.")
        if self.max_unpacked is not None and unpacked > self.max_unpacked:
            raise ArchiveError("too-large", f"The content is larger than {self.max_unpacked} bytes.")


def pack(form: ArchiveForm, members: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yield the archive of these `(name, size, content)` in pieces, none of them empty.

    Names are ASCII, at most 100 characters. Raise `ArchiveError`: `too-large` when the result could not be read back,
    `integrity` when a content has another size than was announced.
    """
    deflate = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    packed = unpacked = 0
    for block in _tar_blocks(form, members):
        unpacked += len(block)
        piece = deflate.compress(block)
        packed += len(piece)
        form.check_size(packed, unpacked)
        if piece:
            yield piece
    rest = deflate.flush()
    form.check_size(packed + len(rest), unpacked)
    yield rest


def _tar_blocks(form: ArchiveForm, members: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    for name, size, content in members:
        yield form.header(name, size)
        written = 0
        for piece in content:
            written += len(piece)
            yield piece
        if written != size:
            raise ArchiveError("integrity", f"{name} changed while it was being written.")
        yield bytes(-size % _BLOCK)
    yield _END


class ArchiveReader:
    """Reads an archive of one form, member by member, in the order that the caller expects them.

    Every method raises `ArchiveError`: `shape`, `integrity`, `truncated`, `too-large`.
    """

    def __init__(self, form: ArchiveForm, chunks: Iterable[bytes]) -> None:
        self._form = form
        self._chunks = filter(None, chunks)
        self._inflate = zlib.decompressobj(_GZIP)
        self._piece = b""
        self._at = 0
        """How much of `_piece` is taken."""
        self._packed = self._unpacked = 0

    def member(self, name: str, max_bytes: int) -> tuple[int, Iterator[bytes]]:
        """Return `(size, content)` of the next member, which must be a plain file of this name.

        The caller must read the content to its end before it asks for the next member.
        """
        header = self._take(_BLOCK)
        found = header[:100].rstrip(b"\0").decode("ascii", "replace")
        if found != name:
            place = quoted(found) if found else "The end"
            raise ArchiveError("integrity", f"{place} stands where {name} must be.")
        size = _size_in(header)
        if not self._is_plain(header, name, size):
            raise ArchiveError("integrity", f"{name} is not stored as a plain file.")
        if size > max_bytes:
            raise ArchiveError("too-large", f"{name} is larger than {max_bytes} bytes.")
        return size, self._content(name, size)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the content of the next member, which must be a plain file of this name."""
        _, content = self.member(name, max_bytes)
        return b"".join(content)

    def finish(self) -> None:
        """Check that this was all: nothing follows the last member, in the archive or behind it."""
        if self._take(len(_END)) != _END:
            raise ArchiveError("integrity", "It holds more than its manifest lists.")
        has_more = self._at < len(self._piece)
        while not (has_more or self._inflate.eof):
            has_more = bool(self._unpack_some())
        if has_more or self._inflate.unused_data or next(self._chunks, b""):
            raise ArchiveError("integrity", "Something follows its end.")

    def _is_plain(self, header: bytes, name: str, size: int) -> bool:
        try:
            return size >= 0 and header == self._form.header(name, size)
        except ValueError:
            return False

    def _content(self, name: str, size: int) -> Iterator[bytes]:
        yield from self._parts(size)
        if any(self._take(-size % _BLOCK)):
            raise ArchiveError("integrity", f"Something is hidden behind {name}.")

    def _take(self, size: int) -> bytes:
        return b"".join(self._parts(size))

    def _parts(self, size: int) -> Iterator[bytes]:
        while size:
            if self._at == len(self._piece):
                self._piece, self._at = self._next_piece(), 0
            part = self._piece[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            yield part

    def _next_piece(self) -> bytes:
        while not self._inflate.eof:
            if piece := self._unpack_some():
                return piece
        raise ArchiveError("truncated", "It ends before its last member.")

    def _unpack_some(self) -> bytes:
        """Return some more of the tar; nothing while the compression has only begun, and at its end."""
        chunk = self._inflate.unconsumed_tail
        if not chunk:
            chunk = next(self._chunks, b"")
            self._packed += len(chunk)
        try:
            piece = self._inflate.decompress(chunk, PIECE_BYTES)
        except zlib.error:
            if not self._unpacked:
                raise ArchiveError("shape", f"It is not {self._form.kind} (not gzip).") from None
            raise ArchiveError(
                "integrity", "It is damaged: its checksum or compression does not fit."
            ) from None
        if not chunk and not piece and not self._inflate.eof:
            raise ArchiveError("truncated", "It ends in the middle.")
        self._unpacked += len(piece)
        self._form.check_size(self._packed, self._unpacked)
        return piece


def _size_in(header: bytes) -> int:
    """Return the size that a tar header states, or -1 when it states none."""
    field = header[124:136]
    if _OCTAL_SIZE.fullmatch(field):
        return int(field[:11], 8)
    return int.from_bytes(field[1:], "big") if field[0] == _BINARY_SIZE else -1


def plain_files(
    tarball: bytes, *, max_bytes: int, max_members: int
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield `(name, read)` of each plain file in a gzip'd tar that any program may have written, in its order.

    Links, devices, folders and sparse files are left out, and so are names with an empty part, `.` or `..`. `read`
    returns the content and works until the next file is asked for. Raise `ArchiveError`: `too-large` past `max_bytes`
    unpacked, `too-many` past `max_members`, `unreadable`.
    """
    try:
        stream = _BoundedStream(gzip.GzipFile(fileobj=io.BytesIO(tarball)), max_bytes)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for number, member in enumerate(archive, 1):
                if number > max_members:
                    raise ArchiveError("too-many", f"The archive has more than {max_members} files.")
                if _is_plain_file(member):
                    yield member.name, lambda member=member: _content_of(archive, member)  # type: ignore[misc]
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError):
        raise _unreadable() from None


def _is_plain_file(member: tarfile.TarInfo) -> bool:
    has_plain_name = not {"", ".", ".."} & set(member.name.split("/"))
    return member.isreg() and not member.issparse() and has_plain_name


def _content_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    try:
        file = archive.extractfile(member)
        return file.read() if file is not None else b""
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError):
        raise _unreadable() from None


def _unreadable() -> ArchiveError:
    return ArchiveError("unreadable", "The archive is no gzipped tar archive.")


class _BoundedStream(io.RawIOBase):
    """A stream that ends with a refusal instead of growing without bounds."""

    def __init__(self, stream: gzip.GzipFile, max_bytes: int) -> None:
        super().__init__()
        self._stream = stream
        self._max_bytes = max_bytes
        self._left = max_bytes

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes; raise `ArchiveError` (`too-large`) past the limit."""
        content = self._stream.read(size if size >= 0 else self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise ArchiveError("too-large", f"The archive unpacks to more than {self._max_bytes} bytes.")
        return content


class BoundedGunzip:
    """Takes the gzip coding off a stream of chunks, and never makes more than one byte over `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._inflate = zlib.decompressobj(_GZIP)
        self._left = max_bytes
        self._max_bytes = max_bytes

    def feed(self, chunk: bytes) -> bytes:
        """Return what this chunk unpacks to.

        Raise `ArchiveError`: `integrity` for damage, `truncated` for a chunk behind the end, `too-large`.
        """
        if self._inflate.eof:
            raise ArchiveError("truncated", "The compressed content does not end where it should.")
        try:
            piece = self._inflate.decompress(chunk, self._left + 1)
        except zlib.error:
            raise ArchiveError("integrity", "The compressed content is damaged.") from None
        self._left -= len(piece)
        if self._left < 0:
            raise ArchiveError("too-large", f"The content has more than {self._max_bytes} bytes.")
        return piece

    def finish(self) -> None:
        """Raise `ArchiveError` (`truncated`) unless the stream ended where its compression does."""
        if not self._inflate.eof or self._inflate.unused_data:
            raise ArchiveError("truncated", "The compressed content does not end where it should.")
