"""The outermost layer: what holds for every request and every answer, whatever happens inside.

It gives each request an id, a client address and a canonical path (`canonical_path`: which spellings mean the same
route, measured on real clients and documents), turns HEAD into GET without a body, bounds the time a body may take
and never leaves one half-read behind an answer (`RequestBody`), says which web pages' scripts may read answers
(`Cors`, the Fetch standard: none unless configured; no cookie is ever involved, so nothing here needs credentials),
adds the common headers, turns an escaped defect into an enveloped 500, and writes the access log.

`options_handlers` answer OPTIONS for every path: Litestar's own answer names the methods of one handler only, the
one that was registered first (measured, 2.25).
"""

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from app.access.limits import RateVerdict
from app.access.networks import Networks, client_address
from app.access.route_guards import public
from app.http.envelope import encode_refusal
from app.http.problem import Problem
from app.web.asgi import App, Message, Receive, Scope, Send
from app.web.logs import AccessLog

log = logging.getLogger(__name__)


_PREFIXES = ("/api/v1/", "/v1/api/", "/api/api/")


_SLASHES = re.compile(r"/{2,}")


_ORIGIN = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*")


def canonical_path(path: str) -> str:
    """Fold doubled slashes, a trailing slash and the prefixes `/v1`, `/api/v1`, `/api/api` away.

    Stock Guards build URLs by joining strings, so an endpoint that ends in `/` or `/api` asks for
    `//api/...` or `/api/api/...`; the public documents say `/api/v1/...`, its server `/v1/api/...`. A client
    of a proxy names the whole URL (RFC 9112 3.2.2); its origin is ours, or the request would not be here.
    """
    if not path.startswith("/"):
        path = _ORIGIN.sub("", path, count=1) or "/"
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if len(path) > 1 and path.endswith("/"):
        path = path.rstrip("/") or "/"
    for prefix in _PREFIXES:
        if path.startswith(prefix):
            return "/api/" + path[len(prefix) :]
    if path in {"/v1/health", "/v1/ready"}:
        return path[3:]
    return path


DISCARDED_BYTES = 32 * 1024 * 1024
"""How much of an unread body is taken in after the answer, so that the answer can be read."""


def announces_body(headers: Mapping[str, str]) -> bool:
    """Return whether a body follows these headers (RFC 9112 6.3)."""
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


class RequestBody:
    """The `receive` of one request with a deadline, in seconds, on the body as a whole."""

    __slots__ = ("_deadline", "_receive", "_seconds", "complete")

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive = receive
        self._seconds = seconds
        self._deadline: float | None = None
        self.complete = False

    async def receive(self) -> Message:
        """Return the next message; raises `Problem` 408 past the deadline, 400 when the client left in between."""
        if self.complete:
            return await self._receive()
        clock = time.monotonic()
        if self._deadline is None:
            self._deadline = clock + self._seconds
        try:
            message = await asyncio.wait_for(self._receive(), max(self._deadline - clock, 0.001))
        except TimeoutError:
            raise Problem(408, "The body did not arrive in time.", headers={"Connection": "close"}) from None
        if message["type"] == "http.disconnect":
            raise Problem(400, "The connection ended before the body did.", headers={"Connection": "close"})
        self.complete = not message.get("more_body", False)
        return message

    async def discard(self, headers: Mapping[str, str]) -> None:
        """After the answer, take in what no handler wanted to read, within the same deadline.

        A connection closed over unread bytes is reset, and the reset overtakes the answer: measured with Node's
        `http`, which stock Guards use, every second refusal of a body of 900 kB was lost. A client that asked
        before sending (`Expect`) is not waited for.
        """
        if self.complete or "expect" in headers:
            return
        taken = 0
        try:
            while not self.complete and taken < DISCARDED_BYTES:
                taken += len((await self.receive()).get("body", b""))
        except Problem:
            return


METHODS = b"GET, HEAD, POST, PATCH, DELETE"


REQUEST_HEADERS = b"Authorization, Content-Type, If-None-Match, If-Modified-Since, X-Panguard-Client-Id"


ANSWER_HEADERS = (
    b"ETag, Retry-After, Threatcloud-Freshness, X-Request-Id,"
    b" X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
)


PREFLIGHT_SECONDS = b"600"


Headers = tuple[tuple[bytes, bytes], ...]


class Cors:
    """What is added to an answer; made once, asked for each request."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def headers(self, method: str, sent: Mapping[str, str]) -> Headers:
        """Return the headers for an answer to this request.

        `Vary` is there for every caller, or a cache would hand the answer for one origin to another.
        """
        origin = sent.get("origin")
        if origin not in self._origins or origin is None:
            return ((b"vary", b"Origin"),)
        allowed = (b"access-control-allow-origin", origin.encode("latin-1"))
        if method == "OPTIONS" and "access-control-request-method" in sent:
            return (
                (b"vary", b"Origin"),
                allowed,
                (b"access-control-allow-methods", METHODS),
                (b"access-control-allow-headers", REQUEST_HEADERS),
                (b"access-control-max-age", PREFLIGHT_SECONDS),
            )
        return ((b"vary", b"Origin"), allowed, (b"access-control-expose-headers", ANSWER_HEADERS))


_POLICY = b"content-security-policy"


_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)


_DEFAULT_POLICY = (_POLICY, b"default-src 'none'; frame-ancestors 'none'")


class Edge:
    """An ASGI application around the product's application."""

    def __init__(
        self,
        inner: App,
        *,
        trusted_proxies: Networks,
        body_seconds: float,
        access_log: AccessLog,
        cors: Cors | None,
    ) -> None:
        self._inner = inner
        self._cors = cors
        self._address = lru_cache(4096)(
            lambda peer, forwarded: client_address(peer, forwarded, trusted_proxies)
        )
        self._body_seconds = body_seconds
        self._log = access_log
        self._start = secrets.token_hex(6)
        self._counter = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other scopes (lifespan) pass through."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._inner(scope, receive, send)
            return
        request_id = self._identify(scope)
        headers = scope["state"]["headers"]
        cors = self._cors and self._cors.headers(scope["asked_method"], headers)
        exchange = _Exchange(scope, send, request_id, cors or ())
        body = RequestBody(receive, self._body_seconds) if announces_body(headers) else None
        try:
            await self._inner(scope, receive if body is None else body.receive, exchange.send)
        except Exception as error:
            await self._fail(exchange, error)
        finally:
            self._log.write(scope, exchange.status, exchange.sent, exchange.seconds)
        if body is not None:
            await body.discard(headers)

    def _identify(self, scope: Scope) -> str:
        headers = _headers(scope)
        request_id = f"{self._start}-{next(self._counter):x}"
        local = _is_local(scope)
        method = scope["method"]
        scope["state"] = {
            "request_id": request_id,
            "headers": headers,
            "is_head": method == "HEAD",
            "local": local,
            "client_address": "local"
            if local
            else self._address((scope["client"] or ("",))[0], headers.get("x-forwarded-for")),
        }
        scope["asked_path"] = scope["path"]
        scope["asked_method"] = method
        if method == "HEAD":
            scope["method"] = "GET"
        scope["path"] = canonical_path(scope["path"])
        scope["raw_path"] = scope["path"].encode("utf-8", "surrogateescape")
        return request_id

    async def _fail(self, exchange: "_Exchange", error: Exception) -> None:
        """Answer a defect that escaped every handler: a 500 with an id to find it by, and nothing else."""
        if exchange.started:
            log.error("the answer broke off", exc_info=error, extra={"request_id": exchange.request_id})
            raise error
        log.error("request failed", exc_info=error, extra={"request_id": exchange.request_id})
        problem = Problem(500, "Internal error; the log has it under this request_id.")
        body = encode_refusal(exchange.request_id, problem)
        headers = [
            (b"content-type", b"application/json; charset=utf-8"),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        await exchange.send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": body, "more_body": False})


class _Exchange:
    """One answer on its way out."""

    __slots__ = ("_cors", "_is_head", "_scope", "_send", "_since", "request_id", "sent", "started", "status")

    def __init__(self, scope: Scope, send: Send, request_id: str, cors: Headers) -> None:
        self._scope = scope
        self._cors = cors
        self._send = send
        self._since = time.perf_counter()
        self._is_head = scope["state"]["is_head"]
        self.request_id = request_id
        self.status = 0
        self.sent = 0
        self.started = False

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._since

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            headers = [*message["headers"], (b"x-request-id", self.request_id.encode("ascii")), *self._cors]
            if self.status != 304:  # it has no body to protect, and fleets poll for it
                headers += _SECURITY_HEADERS
                if not any(name == _POLICY for name, _ in message["headers"]):  # the one page has its own
                    headers.append(_DEFAULT_POLICY)
            limit = self._scope["state"].get("rate_limit")
            if limit is not None:
                headers += _limit_headers(limit)
            message = {"type": "http.response.start", "status": self.status, "headers": headers}
        elif message["type"] == "http.response.body":
            if self._is_head:
                if message.get("more_body"):
                    return
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            self.sent += len(message["body"])
        await self._send(message)


def _headers(scope: Scope) -> dict[str, str]:
    """Return the request's headers; lines of one name are joined by commas (RFC 9110 5.3)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _limit_headers(verdict: RateVerdict) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"x-ratelimit-limit", b"%d" % verdict.limit),
        (b"x-ratelimit-remaining", b"%d" % verdict.remaining),
        (b"x-ratelimit-reset", b"%d" % verdict.reset_seconds),
    )


def _is_local(scope: Scope) -> bool:
    """Did the request come in through the control socket, which only its owner may open (mode 0600)?

    A TCP connection always has a port beside its address; a unix socket has a path (relative ones included),
    or, as gunicorn 27 splits it, the first two characters of one.
    """
    server = scope.get("server")
    return bool(scope["client"] is None and server and not isinstance(server[1], int))


def options_handlers(handlers: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """One handler for each path of `handlers`; register them first, so that no other is made."""
    methods: defaultdict[str, set[str]] = defaultdict(lambda: {"OPTIONS"})
    for handler in handlers:
        for path in handler.paths:
            methods[path] |= handler.http_methods
            if "GET" in handler.http_methods:
                methods[path].add("HEAD")
    return [_options(path, ", ".join(sorted(allowed))) for path, allowed in methods.items()]


def _options(path: str, allowed: str) -> HTTPRouteHandler:
    async def options() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": allowed})

    return HTTPRouteHandler(
        path, http_method="OPTIONS", status_code=204, guards=[public()], include_in_schema=False
    )(options)
