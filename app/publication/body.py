"""A response body that is built once and ends differently each time.

Every answer carries its own `request_id`, yet 785 rules must be neither encoded nor compressed per request.
So the body is kept up to its last member, and its gzip form up to a byte boundary of the deflate stream
(RFC 1951: a sync flush ends on one); the tail is then appended as one stored block, and the checksum of the
whole is continued from that of the kept part (RFC 1952). The result is an ordinary single-member gzip file.
"""

import struct
import zlib
from dataclasses import dataclass

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
        """The last bytes of the gzip body (`tail` of at most 65,535 bytes)."""
        size = len(tail)
        block = struct.pack("<BHH", 1, size, size ^ 0xFFFF) + tail
        length = (len(self.plain) + size) & 0xFFFFFFFF
        return block + struct.pack("<II", zlib.crc32(tail, self.crc), length)
