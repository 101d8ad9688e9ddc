"""Conditional requests (RFC 9110 section 13): does the client already have what we would send?"""

from collections.abc import Mapping
from datetime import datetime

from app.http.timestamps import from_http_date


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
