"""HTTP for every kind of upstream that speaks it: one client, one deadline, and no trust in any answer."""

import ssl
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

import httpx
import msgspec

from app import __version__
from app.federation.sources.collected import SourceError, Traffic
from app.federation.sources.secret import read_upstream_key
from app.federation.sources.tls import tls_context, tls_failure
from app.federation.upstream import HttpUpstream
from app.http.problem import quoted
from app.http.timestamps import from_http_date

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 20.0
MAX_REDIRECTS = 3
MAX_ETAG_CHARS = 512
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HTML = frozenset({"text/html", "application/xhtml+xml"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A 200 with its whole body, or a 304 to a validator that we sent (then `body` is None)."""

    headers: httpx.Headers
    body: bytes | None

    @property
    def etag(self) -> str:
        """Its ETag, or "" when it has none that could be sent back."""
        etag = self.headers.get("etag", "")
        return etag if len(etag) <= MAX_ETAG_CHARS and etag.isascii() and etag.isprintable() else ""


class Exchange:
    """The requests of one pull. Every method raises `SourceError`; use it as a context manager."""

    def __init__(self, upstream: HttpUpstream, now: datetime, traffic: Traffic) -> None:
        self.now = now
        self.max_bytes = upstream.max_bytes
        self._upstream = upstream
        self._traffic = traffic
        self._client = open_client(upstream)
        self._deadline = time.monotonic() + upstream.timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get_json(self, url: str, *, accept: str = "application/json", etag: str = "") -> Answer:
        """GET a JSON document, unless it still has the ETag that is given."""
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        if etag:
            headers["If-None-Match"] = etag
        return self._get(url, headers, etag, is_json=True)

    def get_file(self, url: str) -> bytes:
        """GET a file, byte for byte as it is stored."""
        answer = self._get(url, {"Accept": "*/*", "Accept-Encoding": "identity"}, "", is_json=False)
        return answer.body or b""

    def _get(self, url: str, headers: dict[str, str], etag: str, *, is_json: bool) -> Answer:
        """Follow redirects by hand, so that none leads the key, or us, to another host."""
        target = _parsed(url)
        for _ in range(MAX_REDIRECTS + 1):
            with self._ask(target, headers) as response:
                if response.status_code in _REDIRECTS:
                    target = _followed(target, response.headers.get("location", ""))
                    continue
                return self._answer(response, etag, is_json=is_json)
        raise SourceError("redirect", f"The upstream redirects more than {MAX_REDIRECTS} times.")

    @contextmanager
    def _ask(self, url: httpx.URL, headers: dict[str, str]) -> Iterator[httpx.Response]:
        left = max(self._deadline - time.monotonic(), 0.001)
        timeout = httpx.Timeout(min(SILENCE_SECONDS, left), connect=min(CONNECT_SECONDS, left))
        self._traffic.requests += 1
        is_answered = False
        try:
            with self._client.stream("GET", url, headers=headers, timeout=timeout) as response:
                is_answered = True
                yield response
        except httpx.HTTPError as error:
            raise self._failure(error, is_answered=is_answered) from None
        except UnicodeError:  # from the resolver: a label that is empty or longer than 63 characters
            raise _no_name() from None

    def _answer(self, response: httpx.Response, etag: str, *, is_json: bool) -> Answer:
        if response.status_code == 304:
            answer = Answer(response.headers, None)
            _check_not_modified(answer, etag)
            return answer
        if response.status_code != 200:
            raise refusal(response, self.now, has_key=self._upstream.key is not None)
        _check_type(response.headers.get("content-type", ""), is_json=is_json)
        return Answer(response.headers, self._body(response))

    def _body(self, response: httpx.Response) -> bytes:
        limit = self._upstream.max_bytes
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length[:19]) > limit:
            raise too_large(limit)
        body = Body(response.headers.get("content-encoding", "").strip().lower(), limit)
        for chunk in response.iter_raw():
            self._traffic.received += len(chunk)
            body.feed(chunk)
            if time.monotonic() >= self._deadline:
                raise self._too_slow()
        return body.finish()

    def _too_slow(self) -> SourceError:
        return SourceError("timeout", f"The pull took longer than {self._upstream.timeout} s; see `timeout`.")

    def _failure(self, error: httpx.HTTPError, *, is_answered: bool) -> SourceError:
        cause = _cause(error)
        if isinstance(cause, ssl.SSLError) and not is_answered:
            return tls_failure(cause)
        if isinstance(error, httpx.TimeoutException):
            return self._too_slow() if time.monotonic() >= self._deadline else _silent(error)
        if is_answered:
            return SourceError("truncated", "The connection ended before the answer was complete.")
        if isinstance(error, httpx.ProxyError):
            return SourceError("unreachable", "The proxy does not connect to the upstream.")
        reason = f": {cause.strerror}" if cause is not None and cause.strerror else ""
        return SourceError("unreachable", f"The upstream cannot be reached{reason}.")


def open_client(upstream: HttpUpstream) -> httpx.Client:
    """Return a client that goes only where the configuration says, whatever the environment says."""
    context = tls_context(upstream)
    headers = {"User-Agent": f"threatcloud/{__version__}"}
    if upstream.key is not None:
        headers["Authorization"] = f"Bearer {read_upstream_key(upstream.key)}"
    return httpx.Client(
        headers=headers,
        verify=context,
        proxy=_proxy(upstream.proxy, context) if upstream.proxy is not None else None,
        trust_env=False,
        follow_redirects=False,
    )


def _proxy(address: str, context: ssl.SSLContext) -> httpx.Proxy:
    try:
        url = httpx.URL(address)
        if url.scheme in {"http", "https"} and url.host:
            return httpx.Proxy(url, ssl_context=context if url.scheme == "https" else None)
    except (httpx.InvalidURL, ValueError):
        pass
    # It may hold a password, so it is not repeated.
    raise SourceError("unreachable", "proxy: an address such as http://proxy:3128 is needed.")


def _silent(error: httpx.TimeoutException) -> SourceError:
    if isinstance(error, httpx.ConnectTimeout):
        return SourceError("timeout", f"There was no connection within {CONNECT_SECONDS:g} s.")
    return SourceError("timeout", f"The upstream was silent for {SILENCE_SECONDS:g} s.")


def same_etag(one: str, other: str) -> bool:
    """Compare weakly (RFC 9110 8.8.3.2)."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def _check_not_modified(answer: Answer, sent: str) -> None:
    """Believe a 304 only when it is about what we have: one with another ETag has frozen lists before."""
    if not sent:
        raise SourceError("mixed-up", "The upstream says that nothing changed, but was not asked that (304).")
    said = answer.headers.get("etag", "")
    if said and not same_etag(said, sent):
        raise SourceError(
            "mixed-up", "The upstream says that nothing changed since an ETag that is not ours (304)."
        )


def _check_type(header: str, *, is_json: bool) -> None:
    kind = header.partition(";")[0].strip().lower()
    if kind in _HTML:
        raise SourceError(
            "content-type",
            "The answer is an HTML page, as the sign-in page of a proxy or a captive portal would be.",
        )
    if is_json and kind and kind != "application/json" and not kind.endswith("+json"):
        raise SourceError("content-type", f"The answer is {quoted(kind)}, not JSON.")


def _parsed(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except httpx.InvalidURL:
        raise _no_name() from None


def _no_name() -> SourceError:
    return SourceError("unreachable", "The host in `url` is no name that could be looked up.")


def _followed(url: httpx.URL, location: str) -> httpx.URL:
    """Return where a redirect leads, if that is the same host and no step down from https to http."""
    try:
        target = url.join(location).copy_with(userinfo=b"")
    except (httpx.InvalidURL, ValueError):
        raise SourceError("redirect", "The upstream redirects to something that is no address.") from None
    is_same = (target.scheme, target.port) == (url.scheme, url.port)
    is_upgrade = (url.scheme, target.scheme) == ("http", "https")
    if not location or target.host != url.host or not (is_same or is_upgrade):
        place = quoted(f"{target.scheme}://{target.netloc.decode('ascii', 'replace')}")
        raise SourceError("redirect", f"The upstream redirects to {place}, which `url` does not name.")
    return target


def _cause(error: BaseException) -> OSError | None:
    """Return the error of the operating system or of TLS that httpx wrapped, if one is there."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, OSError):
        seen = seen.__cause__ or seen.__context__
    return seen


MAX_RETRY_AFTER = 86_400.0
"""Longest wait to obey, in seconds: nobody may ask us to stay away for ever."""


def refusal(response: httpx.Response, now: datetime, *, has_key: bool) -> SourceError:
    """Return the failure that a status means, with what `Retry-After` asks for."""
    status = response.status_code
    wait = seconds_to_wait(response.headers.get("retry-after", ""), now)
    if status in {401, 403}:
        what = "does not accept the key; check `key`" if has_key else "wants a key; set `key`"
        return SourceError("unauthorized", f"The upstream {what} (HTTP {status}).", wait)
    if status == 407:
        return SourceError(
            "status", "The proxy wants a user and a password; write them in `proxy` (HTTP 407)."
        )
    if status == 429:
        return SourceError("too-fast", "The upstream is asked more often than it wants (HTTP 429).", wait)
    return SourceError("status", f"The upstream answered with HTTP {status}.", wait)


def seconds_to_wait(header: str, now: datetime) -> float | None:
    """Return the seconds from `now`, at most a day, or None when the header says nothing (RFC 9110 10.2.3)."""
    header = header.strip()
    if header.isascii() and header.isdigit():
        return min(float(header[:12]), MAX_RETRY_AFTER)
    instant = from_http_date(header)
    if instant is None:
        return None
    return min(max((instant - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


class Body:
    """An HTTP body that never inflates to more than was asked for, so that a gzip bomb cannot fill the memory.

    Its methods raise `SourceError` too-large or truncated.
    """

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
        """Return the whole body."""
        if self._inflate is not None and (not self._inflate.eof or self._inflate.unused_data):
            raise SourceError("truncated", "The compressed answer does not end where it should.")
        return bytes(self._content)


def too_large(limit: int) -> SourceError:
    """Return the failure of an answer with more than `limit` bytes."""
    return SourceError(
        "too-large", f"The answer has more than {limit} bytes; max_bytes sets how many it may have."
    )


T = TypeVar("T")


def read_json(body: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Read JSON that an upstream sent into a type of ours.

    Raises `SourceError` not-json or shape; the reasons of msgspec hold no words of the upstream.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise SourceError("shape", f"The answer has another form than expected: {error}.") from None
    except msgspec.DecodeError as error:
        raise SourceError("not-json", f"The answer is not JSON: {error}.") from None
    except UnicodeDecodeError:
        raise SourceError("not-json", "The answer is not UTF-8.") from None
    except RecursionError:
        raise SourceError("not-json", "The answer is nested too deeply.") from None
