"""Sealed reports: what Guards of 1.8 and newer encrypt to a key that only their maker holds.

They are answered like any other report, since a Guard that is refused sends a growing buffer again each minute
(measured). How many events are inside cannot be seen. Kept, if at all, exactly as they came.
"""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlite_utils import Database

from app.intel.reports.reporter import Reporter

Short = Annotated[str, Meta(max_length=128)]


class Envelope(msgspec.Struct):
    """What stock Guards put under `sealed`; `jwe` is a compact JWE (RFC 7516)."""

    v: int | str
    alg: Short
    kid: Short
    jwe: str


def keep_sealed(db: Database, envelopes: Iterable[Any], reporter: Reporter, received: str) -> int:
    """Store the envelopes that are ones; `received` is an hour as text. Returns how many."""
    rows = [
        (received, reporter.subject, reporter.client, msgspec.json.encode(envelope).decode())
        for envelope in map(_read, envelopes)
        if envelope is not None
    ]
    db.conn.executemany("INSERT INTO sealed (received, subject, client, envelope) VALUES (?, ?, ?, ?)", rows)
    return len(rows)


def _read(envelope: Any) -> Envelope | None:
    try:
        return msgspec.convert(envelope, Envelope)
    except msgspec.ValidationError:
        return None
