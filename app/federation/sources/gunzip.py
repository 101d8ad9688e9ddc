"""Decompression that never makes more than it was asked for, so that a gzip bomb cannot fill the memory."""

import zlib

from app.federation.sources.collected import SourceError


class Body:
    """Takes the raw chunks of an HTTP body; raises `SourceError` too-large or truncated."""

    def __init__(self, coding: str, limit: int) -> None:
        """`coding` is the Content-Encoding, `limit` the most bytes to accept once it is taken off."""
        if coding not in {"", "identity", "gzip", "x-gzip"}:
            raise SourceError("content-type", "The answer has a Content-Encoding that was not asked for.")
        self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS) if coding.endswith("gzip") else None
        self._limit = limit
        self._content = bytearray()  # not a list: an answer may come in chunks of one byte

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk as it came over the wire."""
        if self._inflate is not None:
            if self._inflate.eof:
                raise SourceError("truncated", "The compressed answer does not end where it should.")
            try:
                chunk = self._inflate.decompress(chunk, self._limit - len(self._content) + 1)
            except zlib.error:
                raise SourceError("truncated", "The compressed answer is damaged.") from None
        if len(self._content) + len(chunk) > self._limit:
            raise too_large(self._limit)
        self._content += chunk

    def finish(self) -> bytes:
        """The whole body."""
        if self._inflate is not None and (not self._inflate.eof or self._inflate.unused_data):
            raise SourceError("truncated", "The compressed answer does not end where it should.")
        return bytes(self._content)


def too_large(limit: int) -> SourceError:
    """The failure of an answer with more than `limit` bytes."""
    return SourceError(
        "too-large", f"The answer has more than {limit} bytes; max_bytes sets how many it may have."
    )
