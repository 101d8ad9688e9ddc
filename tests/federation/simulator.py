"""A simulated upstream on loopback: it answers all that we pull over HTTP, rightly or with one named fault.

It is an HTTP server in a thread of the test, with the routes of a Threat Cloud (`/api/atr-rules/live` and
`/api/atr-rules`, with ETags, freshness tokens and 304s) and of an npm registry with one package. A test sets `rules`
and `fault` at any time; the next request is answered accordingly, so a sequence of pulls reads as a sequence of
assignments. `requests` holds what was asked. `is_ours=False` makes it answer as the public server does; `key` and
`tls` make it demand a key or speak TLS. Its clock starts at `start` and moves one second at each request, so that
tests know every instant. `Fault` lists what can go wrong, one word each.

>>> with Simulator(key="secret") as simulator:
...     simulator.rules["ATR-2026-00001"] = "title: one"
...     right = httpx.get(simulator.url + LIVE, headers={"Authorization": "Bearer secret"})
...     simulator.fault = "unavailable"
...     wrong = httpx.get(simulator.url + LIVE, headers={"Authorization": "Bearer secret"})
>>> [rule["ruleId"] for rule in right.json()["data"]]
['ATR-2026-00001']
>>> wrong.status_code, [request.path for request in simulator.requests]
(503, ['/api/atr-rules/live', '/api/atr-rules/live'])
"""

import base64
import gzip
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.federation.authority import Authority
from tests.federation.hostile_entries import HOSTILE_ENTRIES
from tests.federation.npm_package import escaping, integrity, pack

Fault = Literal[
    "truncate",  # Content-Length is larger than the body
    "truncate_json",  # half of the document, under a right Content-Length
    "stall",  # half of the body, then nothing until the test sets `released`
    "trickle",  # byte after byte until the test sets `released`
    "hang_up",  # the connection ends without an answer
    "shrink",  # every other rule is gone
    "empty",
    "restamp",  # every rule is published just now, as the public server does at each restart
    "swap_etag",  # 304 with another ETag; a 200 says another one inside than in its header
    "no_etag",  # no fault of its own: a proxy strips the ETag
    "unasked_304",
    "replay",  # the first full answer again, with its old Date
    "replay_freshly_dated",  # the same, with a new Date and no freshness token
    "older_serial",  # the freshness token is of an older publication
    "expired_token",
    "error_500",
    "too_many",  # 429 with Retry-After in seconds
    "unavailable",  # 503 with Retry-After as an HTTP date
    "unauthorized",
    "redirect_elsewhere",
    "redirect_same",  # harmless: a redirect on the same host
    "redirect_loop",
    "html",  # what a captive portal says, 200
    "wrong_type",
    "bomb",  # a gzip body of 65 MiB in 66 KB
    "huge",  # 65 MiB of JSON without Content-Length
    "hostile_entries",  # further entries that are no rules or must not be taken for one
    "total_mismatch",
    "not_ok",
    "bad_integrity",  # the tarball is not the one that the registry announces
    "sha1_only",  # the registry announces no digest that proves anything
    "evil_tar",  # `..`, absolute paths, links and pipes in the tarball
    "tar_bomb",  # 65 MiB of zeros in the tarball
    "tarball_elsewhere",  # the registry names another host for the tarball
    "other_package",
]

LIVE, ATR_RULES, MOVED = "/api/atr-rules/live", "/api/atr-rules", "/moved"
PACKAGE = "agent-threat-rules"
ELSEWHERE = "elsewhere.invalid"
RETRY_AFTER = 120
BOMB_BYTES = 65 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived; header names in lower case."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer before it is sent."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Simulator:
    """Set `rules` (id -> text; assign, change or delete) and `fault` at any time; `requests` holds what was asked."""

    def __init__(
        self,
        *,
        start: datetime | None = None,
        key: str | None = None,
        is_ours: bool = True,
        tls: Authority | None = None,
        asks_clients: bool = False,
        port: int = 0,
    ) -> None:
        """`is_ours`: a private instance, with freshness tokens and ETags everywhere; else the public server."""
        self.rules: dict[str, str] = {}
        self.fault: Fault | None = None
        self.key = key
        self.sources: dict[str, str] = {}
        """`id -> source` where it is not `atr`."""
        self.is_ours = is_ours
        self.version = "4.0.0"
        """The version that npm's tag `latest` names."""
        self.requests: list[Seen] = []
        self.released = threading.Event()
        """Ends `stall` and `trickle`."""
        self.serial = 0
        self.published: dict[str, str] = {}
        self.withdrawn: dict[str, str] = {}
        self._now = start or datetime.now(UTC)
        self._known: dict[str, str] = {}
        self._whole: dict[str, Reply] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), self)
        if tls is not None:
            context = tls.server_context(asks_clients=asks_clients)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def now(self) -> datetime:
        """Its clock."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move its clock."""
        self._now += by

    def asked(self, path: str) -> int:
        """How many requests there were for a path."""
        return sum(seen.path == path for seen in self.requests)

    def reply_to(self, seen: Seen) -> Reply:
        """What is answered, before anything is done to the bytes on the wire."""
        with self._lock:
            self._now += timedelta(seconds=1)
            self.requests.append(seen)
            self._publish()
            reply = self._refusal(seen) or self._route(seen)
            return replace(reply, headers={"Date": _http_date(self._now)} | reply.headers)

    def _publish(self) -> None:
        """Notice what the test did to `rules` since the last request."""
        rules = dict(self.rules)
        stamp = _text(self._now)
        if self.fault == "restamp":
            self.published = dict.fromkeys(self.published, stamp)
        if rules == self._known and self.serial:
            return
        self.serial += 1
        for rule_id in sorted(self._known.keys() - rules.keys()):
            self.withdrawn[rule_id] = stamp
            del self.published[rule_id]
        for rule_id, text in rules.items():
            if self._known.get(rule_id) != text:
                self.published[rule_id] = stamp
                self.withdrawn.pop(rule_id, None)
        self._known = rules

    def _refusal(self, seen: Seen) -> Reply | None:
        if self.key is not None and seen.headers.get("authorization") != f"Bearer {self.key}":
            return _json(401, {"ok": False, "error": "Invalid API key"})
        match self.fault:
            case "unasked_304":
                return Reply(304)
            case "unauthorized":
                return _json(403, {"ok": False, "error": "Partner key required"})
            case "error_500":
                return _json(500, {"ok": False, "error": "Internal server error"})
            case "too_many":
                return _json(429, {"ok": False, "error": "rate_limited"}, {"Retry-After": str(RETRY_AFTER)})
            case "unavailable":
                later = _http_date(self._now + timedelta(seconds=RETRY_AFTER))
                return Reply(503, b"busy", {"Retry-After": later, "Content-Type": "text/plain"})
            case "redirect_elsewhere":
                return Reply(
                    302, b"", {"Location": f"http://{ELSEWHERE}:{self.port}{seen.path}?token=secret"}
                )
            case "redirect_loop":
                return Reply(302, b"", {"Location": seen.path})
            case "redirect_same" if not seen.path.startswith(MOVED):
                return Reply(307, b"", {"Location": MOVED + seen.path})
            case "html":
                page = b"<html><body>Please sign in to the guest network</body></html>"
                return Reply(200, page, {"Content-Type": "text/html; charset=utf-8"})
            case "bomb":
                headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
                return Reply(200, _bomb(), headers)
        return None

    def _route(self, seen: Seen) -> Reply:
        path = seen.path.removeprefix(MOVED)
        if path == LIVE:
            return self._list(seen, self.is_ours, LIVE)
        if path == ATR_RULES:
            return self._list(seen, self.is_ours, ATR_RULES)
        if unquote(path) == f"/{PACKAGE}":
            return self._packument(seen)
        if path == f"/{PACKAGE}/-/{PACKAGE}-{self.version}.tgz":
            package = self._tarball()
            if self.fault == "bad_integrity":
                package = pack({"ATR-2026-66666": "title: another package"})
            return Reply(200, package, {"Content-Type": "application/octet-stream"})
        return _json(404, {"ok": False, "error": "Not found"})

    def _list(self, seen: Seen, is_ours: bool, path: str) -> Reply:
        ids = list(self._known)
        if self.fault == "shrink":
            ids = ids[::2]
        if self.fault == "empty":
            ids = []
        since = seen.query.get("since", "")
        if since:  # compared as text, as the public server does
            ids = [rule_id for rule_id in ids if self._instant(rule_id, path) > since]
        data: list[Any] = [self._entry(rule_id, path) for rule_id in ids]
        if self.fault == "hostile_entries":
            data += HOSTILE_ENTRIES
        newest = max((self._instant(rule_id, LIVE) for rule_id in ids), default="")
        etag = f'W/"{len(data)}-{newest}"'
        now = _http_date(self._now)
        replays = self.fault in {"replay", "replay_freshly_dated"}
        has_etag = (path == LIVE or is_ours) and self.fault != "no_etag"
        meta: dict[str, Any] = {"total": len(data) + (self.fault == "total_mismatch")}
        if has_etag:
            meta["etag"] = 'W/"1-2020-01-01T00:00:00.000Z"' if self.fault == "swap_etag" else etag
        if is_ours and path == ATR_RULES:
            meta["withdrawn"] = [i for i, instant in self.withdrawn.items() if instant >= since]
        headers = {"ETag": etag} if has_etag else {}
        if is_ours:
            headers["Threatcloud-Freshness"] = self._token()
        if has_etag and seen.headers.get("if-none-match") == etag and not replays:
            other = {"ETag": 'W/"1-2020-01-01T00:00:00.000Z"'} if self.fault == "swap_etag" else {}
            return Reply(304, b"", headers | other)
        reply = _json(200, {"ok": self.fault != "not_ok", "data": data, "meta": meta}, headers)
        if not since:
            self._whole.setdefault(path, replace(reply, headers=reply.headers | {"Date": now}))
        first = self._whole[path]
        if self.fault == "replay":
            return first
        if self.fault == "replay_freshly_dated":
            kept = {n: v for n, v in first.headers.items() if n not in {"Date", "Threatcloud-Freshness"}}
            return replace(first, headers=kept)
        return reply

    def _entry(self, rule_id: str, path: str) -> dict[str, str]:
        return {
            "ruleId": rule_id,
            "ruleContent": self._known[rule_id],
            "publishedAt": self._instant(rule_id, path),
            "source": self.sources.get(rule_id, "atr"),
        }

    def _instant(self, rule_id: str, path: str) -> str:
        instant = self.published[rule_id]
        if path == ATR_RULES and not self.is_ours:
            return instant[:19].replace("T", " ")
        return instant

    def _token(self) -> str:
        """A freshness token; nobody verifies its signature."""
        serial = self.serial - 1 if self.fault == "older_serial" else self.serial
        lifetime = -3600 if self.fault == "expired_token" else 600
        claims = {"serial": serial, "exp": int(self._now.timestamp()) + lifetime}
        parts = [json.dumps(part).encode() for part in ({"alg": "EdDSA"}, claims)] + [b"signature"]
        return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)

    def _packument(self, seen: Seen) -> Reply:
        package = self._tarball()
        announced = integrity(package)
        etag = f'"{announced[-16:]}"'
        headers = {"ETag": etag, "Content-Type": "application/vnd.npm.install-v1+json"}
        if seen.headers.get("if-none-match") == etag:
            other = {"ETag": '"another"'} if self.fault == "swap_etag" else {}
            return Reply(304, b"", headers | other)
        host = f"https://{ELSEWHERE}" if self.fault == "tarball_elsewhere" else self.url
        dist = {"tarball": f"{host}/{PACKAGE}/-/{PACKAGE}-{self.version}.tgz", "shasum": "0" * 40}
        if self.fault != "sha1_only":
            dist["integrity"] = announced
        document = {
            "name": "left-pad" if self.fault == "other_package" else PACKAGE,
            "dist-tags": {"latest": self.version},
            "versions": {self.version: {"name": PACKAGE, "version": self.version, "dist": dist}},
        }
        return _json(200, document, headers)

    def _tarball(self) -> bytes:
        rules = self._known
        if self.fault == "shrink":
            rules = dict(list(rules.items())[::2])
        if self.fault == "empty":
            rules = {}
        if self.fault == "evil_tar":
            return pack(rules, *escaping("title: escaped"))
        if self.fault == "tar_bomb":
            return _tar_bomb()
        return pack(rules)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        super().__init__(address, _Handler)
        self.simulator = simulator

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up or refuse our certificate."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 30

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        simulator = self.server.simulator
        reply = simulator.reply_to(Seen(parts.path, query, headers))
        self.close_connection = True
        if simulator.fault == "hang_up":
            return
        if simulator.fault == "wrong_type" and reply.status == 200:
            reply = replace(reply, headers=reply.headers | {"Content-Type": "text/csv"})
        if simulator.fault == "truncate_json" and reply.status == 200:
            reply = replace(reply, body=reply.body[: len(reply.body) // 2])
        is_packed = "gzip" in headers.get("accept-encoding", "") and "Content-Encoding" not in reply.headers
        if is_packed and reply.status == 200 and simulator.fault is None:
            packed = gzip.compress(reply.body, 1)
            reply = Reply(200, packed, reply.headers | {"Content-Encoding": "gzip"})
        self._send(reply, simulator)

    def _send(self, reply: Reply, simulator: Simulator) -> None:
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        size = len(reply.body) + (1000 if simulator.fault == "truncate" else 0)
        if reply.status != 304 and simulator.fault != "huge":
            self.send_header("Content-Length", str(size))
        self.send_header("Connection", "close")
        self.end_headers()
        half = len(reply.body) // 2
        if simulator.fault == "stall":
            self.wfile.write(reply.body[:half])
            simulator.released.wait(30)
        elif simulator.fault == "trickle":
            for position in range(half):
                self.wfile.write(reply.body[position : position + 1])
                if simulator.released.wait(0.05):
                    return
        elif simulator.fault == "huge":
            for _ in range(BOMB_BYTES // 65_536):
                self.wfile.write(b" " * 65_536)
        else:
            self.wfile.write(reply.body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@cache
def _bomb() -> bytes:
    return gzip.compress(b" " * BOMB_BYTES, 9)


@cache
def _tar_bomb() -> bytes:
    return pack({"bomb": "\0" * BOMB_BYTES})


def _json(status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps(document, ensure_ascii=False).encode()
    return Reply(status, body, {"Content-Type": "application/json", **(headers or {})})


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _http_date(instant: datetime) -> str:
    return format_datetime(instant.astimezone(UTC).replace(microsecond=0), usegmt=True)
