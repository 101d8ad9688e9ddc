"""Answers whose body is built once: nothing is encoded or copied per request.

Every answer carries its own `request_id`, yet 785 rules must be neither encoded nor compressed per request.
So the body is kept up to its last member, and its gzip form up to a byte boundary of the deflate stream
(RFC 1951: a sync flush ends on one); the tail is then appended as one stored block, and the checksum of the
whole is continued from that of the kept part (RFC 1952). The result is an ordinary single-member gzip file.

`is_current` answers conditional requests (RFC 9110 section 13): does the client have already what we would send?
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from litestar.types import Receive, Scope, Send

from app.http.timestamps import from_http_date

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"


@dataclass(frozen=True, slots=True)
class PreparedBody:
    """The kept part of a body: `plain` bytes, the same as an unfinished gzip file, and their CRC-32."""

    plain: bytes
    gzip: bytes
    crc: int

    @classmethod
    def prepare(cls, plain: bytes, level: int = 9) -> "PreparedBody":
        """Compress `plain` (releases the interpreter lock: call it in a thread)."""
        deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = deflate.compress(plain) + deflate.flush(zlib.Z_SYNC_FLUSH)
        return cls(plain, _GZIP_HEADER + packed, zlib.crc32(plain))

    @classmethod
    def restore(cls, gzip: bytes, crc: int) -> "PreparedBody":
        """Take back what the database kept; raises `ValueError` when it is damaged or cut off."""
        try:
            plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(gzip[len(_GZIP_HEADER) :])
        except zlib.error as error:
            raise ValueError(f"a compressed body is damaged: {error}") from error
        if zlib.crc32(plain) != crc:
            raise ValueError("a compressed body is damaged: it holds something else")
        return cls(plain, gzip, crc)

    def finish_gzip(self, tail: bytes) -> bytes:
        """Return the last bytes of the gzip body (`tail` of at most 65,535 bytes)."""
        size = len(tail)
        block = struct.pack("<BHH", 1, size, size ^ 0xFFFF) + tail
        length = (len(self.plain) + size) & 0xFFFFFFFF
        return block + struct.pack("<II", zlib.crc32(tail, self.crc), length)


Headers = Sequence[tuple[bytes, bytes]]
JSON = b"application/json; charset=utf-8"


class NotModified:
    """304: the validators, and no body."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer."""
        await send({"type": "http.response.start", "status": 304, "headers": self._headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Prepared:
    """200 with a body in two parts: the shared one, and the few bytes of this request."""

    __slots__ = ("_headers", "_parts")

    def __init__(self, headers: Headers, shared: bytes, rest: bytes, media: bytes = JSON) -> None:
        size = str(len(shared) + len(rest)).encode("ascii")
        self._headers = (
            *headers,
            (b"content-type", media),
            (b"content-length", size),
        )
        self._parts = (shared, rest)

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer."""
        shared, rest = self._parts
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await send({"type": "http.response.body", "body": shared, "more_body": True})
        await send({"type": "http.response.body", "body": rest, "more_body": False})


def accepts_gzip(header: str) -> bool:
    """Return whether `Accept-Encoding` asks for gzip (RFC 9110 12.5.3); it does not when the header is missing.

    `*` stands for the codings that are not named, in whatever order they come.
    """
    if not header:
        return False
    asked: dict[str, bool] = {}
    for item in header.lower().split(","):
        coding, _, weight = item.partition(";")
        asked[coding.strip()] = weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return asked.get("gzip", asked.get("x-gzip", asked.get("*", False)))


def is_current(headers: Mapping[str, str], etag: str, last_modified: datetime) -> bool:
    """Return True when a GET or HEAD may be answered with 304.

    `If-None-Match` decides alone when present (RFC 9110 13.2.2), by weak comparison, with lists and `*`.
    """
    wanted = headers.get("if-none-match")
    if wanted is not None:
        return wanted == etag or _matches(wanted, etag)
    since = headers.get("if-modified-since")
    if since is None:
        return False
    instant = from_http_date(since)
    return instant is not None and last_modified.replace(microsecond=0) <= instant


def _matches(header: str, etag: str) -> bool:
    if header.strip() == "*":
        return True
    opaque = etag.removeprefix("W/")
    return any(candidate.strip().removeprefix("W/") == opaque for candidate in header.split(","))
