"""What an HTTP status other than 200 and 304 means for a pull."""

from datetime import datetime

import httpx

from app.federation.sources.collected import SourceError
from app.http.timestamps import from_http_date

MAX_RETRY_AFTER = 86_400.0
"""Longest wait to obey, in seconds: nobody may ask us to stay away for ever."""


def refusal(response: httpx.Response, now: datetime, *, has_key: bool) -> SourceError:
    """The failure that a status means, with what `Retry-After` asks for."""
    status = response.status_code
    wait = retry_after(response.headers.get("retry-after", ""), now)
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


def retry_after(header: str, now: datetime) -> float | None:
    """Seconds from `now`, at most a day, or None when the header says nothing (RFC 9110 10.2.3)."""
    header = header.strip()
    if header.isascii() and header.isdigit():
        return min(float(header[:12]), MAX_RETRY_AFTER)
    instant = from_http_date(header)
    if instant is None:
        return None
    return min(max((instant - now).total_seconds(), 0.0), MAX_RETRY_AFTER)
