"""Answers of the distribution routes, as ASGI applications: nothing is encoded or copied per request."""

from collections.abc import Sequence

from litestar.types import Receive, Scope, Send

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
    """Does `Accept-Encoding` ask for gzip (RFC 9110 12.5.3)? Without the header: no, as stock Guards need.

    `*` stands for the codings that are not named, in whatever order they come.
    """
    if not header:
        return False
    asked: dict[str, bool] = {}
    for item in header.lower().split(","):
        coding, _, weight = item.partition(";")
        asked[coding.strip()] = weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return asked.get("gzip", asked.get("x-gzip", asked.get("*", False)))
