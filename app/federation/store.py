"""The SQL of upstreams."""

from collections.abc import Collection, Sequence

import msgspec
from sqlite_utils import Database

from app.federation.package import SetAside


def held_digests(db: Database, origin: str) -> dict[str, str]:
    """`rule_id -> text digest` of what is in service from this origin."""
    rows = db.execute("SELECT rule_id, digest FROM rule WHERE origin = ? AND state = 'active'", [origin])
    return dict(rows.fetchall())


def note_success(db: Database, name: str, set_aside: Sequence[SetAside], at: str, *, changed: bool) -> None:
    """Record a pull that was read whole; `changed` also moves the time of the last change."""
    db.execute(
        "INSERT INTO upstream (name, checked_at, changed_at, error, set_aside) VALUES (?, ?, ?, NULL, ?)"
        " ON CONFLICT (name) DO UPDATE SET checked_at = excluded.checked_at, error = NULL,"
        " set_aside = excluded.set_aside,"
        " changed_at = CASE WHEN ? THEN excluded.changed_at ELSE changed_at END",
        [name, at, at, msgspec.json.encode(set_aside).decode(), changed],
    )


def note_failure(db: Database, name: str, error: str, at: str) -> None:
    """Record a pull that failed; what is held stays as it is."""
    db.execute(
        "INSERT INTO upstream (name, checked_at, error) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET checked_at = excluded.checked_at, error = excluded.error",
        [name, at, error],
    )


def withdraw_unconfigured(db: Database, configured: Collection[str], at: str) -> int:
    """Take out of service what came from an upstream that is configured no more; returns how many."""
    origins = [
        origin
        for (origin,) in db.execute("SELECT DISTINCT origin FROM rule WHERE origin LIKE 'upstream:%'")
        if origin not in configured
    ]
    return sum(
        db.execute(
            "UPDATE rule SET state = 'withdrawn', reason = 'upstream is configured no more', changed_at = ?"
            " WHERE origin = ? AND state = 'active'",
            [at, origin],
        ).rowcount
        for origin in origins
    )
