"""Which part of the served set a request asks for: `since` and the filters of the public server, read strictly.

Who sees canary rules.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.http.problem import bad_request
from app.http.timestamps import from_text, to_text
from app.publication.served_set import IndexEntry, Representation

SINCE_OVERLAP = timedelta(minutes=5)
"""Clients send their own clock as `since` (measured, every Guard), so that much skew must lose nothing."""

FILTERS = ("category", "severity", "source")


@dataclass(frozen=True, slots=True)
class Selection:
    """`since` as the database writes instants ("" for none, overlap taken off) and exact-match filters."""

    since: str
    filters: tuple[tuple[str, str], ...]

    def keeps(self, entry: IndexEntry) -> bool:
        """Is this rule asked for?"""
        return entry.published_at >= self.since and all(
            getattr(entry, name) == wanted for name, wanted in self.filters
        )

    def is_everything(self, representation: Representation) -> bool:
        """Return True when the whole prepared body answers the request (every full pull of a stock Guard)."""
        return not self.filters and self.since <= representation.oldest

    @property
    def key(self) -> str:
        """Tells the ETags of different selections apart."""
        return "&".join([f"since={self.since}", *(f"{name}={wanted}" for name, wanted in self.filters)])


def selection_of(query: Mapping[str, str]) -> Selection | None:
    """Read the query; None when it asks for everything.

    Raises `Problem` 400 that names `since` when that is no instant.
    """
    since = query.get("since", "")
    filters = tuple((name, query[name]) for name in FILTERS if query.get(name))
    if not since and not filters:
        return None
    return Selection(_since(since) if since else "", filters)


def _since(text: str) -> str:
    # A query string decodes "+" to a space: `2026-04-17T00:03:42+00:00` arrives with one.
    try:
        instant = from_text(text[:64].replace(" ", "+") if "T" in text else text[:64])
    except ValueError:
        raise bad_request(
            "since: an ISO 8601 instant such as 2026-04-17T00:03:42.124Z is needed", "since"
        ) from None
    if instant < datetime(1970, 1, 2, tzinfo=UTC):
        return ""
    return to_text(instant - SINCE_OVERLAP)


def in_canary_slice(subject: str, percent: int) -> bool:
    """Return True for a stable `percent` of identities.

    Decided by the enrolled identity, never by a header: stock Guards from 1.7.0 send no client id on GETs, and
    a header is anybody's to choose.
    """
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:4], "big") % 100 < percent
