"""What `/metrics` tells of the database, read in one moment of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlite_utils import Database

from app.federation.status import UpstreamStatus, read_status
from app.federation.upstream import Upstream
from app.http.timestamps import to_text
from app.overlay.views import list_entries
from app.rules.store import COMMUNITY, LOCAL

Counts = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Measures:
    """Counts by their label. What is served is that of the newest publication, None before the first."""

    serial: int | None
    published_at: str | None
    rules: tuple[tuple[str, str, int], ...]
    """`(origin, state, count)`."""
    served: Counts
    """By `source`, canary rules included."""
    proposals: Counts
    """By status."""
    keys: Counts
    """By role, of keys that are not revoked; expired ones are counted."""
    overlay: Counts
    """By state."""
    overlay_base_moved: int
    """Entries whose rule upstream has changed since."""
    upstreams: tuple[UpstreamStatus, ...]


def measure(db: Database, upstreams: Sequence[Upstream], now: datetime) -> Measures:
    """Count everything; origins other than `community`, `local` and these upstreams' are left out.

    So the number of series is bounded by the configuration, not by what was configured once. Measured: 40 ms with
    100,000 proposals, 100,000 keys and 5,000 rules.
    """
    origins = {*(upstream.origin for upstream in upstreams), COMMUNITY, LOCAL}
    entries = list_entries(db, to_text(now))
    rules = db.execute("SELECT origin, state, count(*) FROM rule GROUP BY origin, state").fetchall()
    newest = db.execute(
        "SELECT serial, published_at FROM publication ORDER BY serial DESC LIMIT 1"
    ).fetchone()
    serial, published_at = newest or (None, None)
    return Measures(
        serial=serial,
        published_at=published_at,
        rules=tuple(row for row in rules if row[0] in origins),
        served=_counts(
            db,
            "SELECT coalesce(source, CASE WHEN origin LIKE 'upstream:%' THEN 'atr' ELSE 'atr-community' END) s,"
            " count(*) FROM publication_rule WHERE serial = ? GROUP BY s",
            serial,
        ),
        proposals=_counts(db, "SELECT status, count(*) FROM proposal GROUP BY status"),
        keys=_counts(db, "SELECT role, count(*) FROM key WHERE revoked_at IS NULL GROUP BY role"),
        overlay=tuple(Counter(entry.state for entry in entries).items()),
        overlay_base_moved=sum(entry.base_moved for entry in entries),
        upstreams=tuple(read_status(db, upstream, None, now) for upstream in upstreams),
    )


def _counts(db: Database, query: str, *values: object) -> Counts:
    return tuple(db.execute(query, list(values)).fetchall())
