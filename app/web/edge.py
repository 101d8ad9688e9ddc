"""The outermost layer: what holds for every request and every answer, whatever happens inside.

It gives each request an id, a client address and a canonical path, turns HEAD into GET without a body,
bounds the time a body may take, adds the common headers, turns an escaped defect into an enveloped 500, and
writes the access log.
"""

import itertools
import logging
import secrets
import time
from functools import lru_cache

from app.access.limits import RateVerdict
from app.access.networks import Networks, client_address
from app.http.envelope import encode_refusal
from app.http.problem import Problem
from app.web.access_log import AccessLog
from app.web.asgi import App, Message, Receive, Scope, Send
from app.web.cors import Cors, Headers
from app.web.paths import canonical_path
from app.web.request_body import RequestBody, announces_body

log = logging.getLogger(__name__)

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
