"""The SQL of all counters: daily ones by name and label (table `counter`), hourly ones by name (`report_tally`).

They are sums that hold nobody's data, so they are kept when the reports that were counted are purged. Hourly counters
have an age of their own (`retention.counts_days`), daily ones stay.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlite_utils import Database

MAX_LABELS = 100
"""The most labels of one name on one day; labels come from clients, some of them without a key."""
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Count:
    """`n` more of what `name` counts, under a label that tells kinds of it apart (empty for none). Daily."""

    name: str
    label: str = ""
    n: int = 1


def add_daily(db: Database, day: str, counts: Iterable[Count]) -> None:
    """Count on a day (`2026-04-17`); past `MAX_LABELS` a new label is counted as `other`."""
    for count in counts:
        if not count.n or _increase(db, day, count, count.label):
            continue
        used = db.conn.execute(
            "SELECT count(*) FROM counter WHERE name = ? AND day = ?", [count.name, day]
        ).fetchone()[0]
        label = count.label if used < MAX_LABELS else OTHER
        if not _increase(db, day, count, label):
            db.conn.execute("INSERT INTO counter VALUES (?, ?, ?, ?)", [count.name, day, label, count.n])


def _increase(db: Database, day: str, count: Count, label: str) -> bool:
    changed = db.conn.execute(
        "UPDATE counter SET n = n + ? WHERE name = ? AND day = ? AND label = ?",
        [count.n, count.name, day, label],
    ).rowcount
    return bool(changed)


def daily_total(db: Database, name: str, *, since: str = "", label: str | None = None) -> int:
    """Return the sum over all days from `since` on, of one label or of all."""
    only, values = ("", []) if label is None else (" AND label = ?", [label])
    row = db.conn.execute(
        f"SELECT coalesce(sum(n), 0) FROM counter WHERE name = ? AND day >= ?{only}",
        [name, since, *values],
    ).fetchone()
    return int(row[0])


def by_label(db: Database, name: str, *, since: str = "") -> dict[str, int]:
    """Return the sum of each label, the largest first."""
    rows = db.conn.execute(
        "SELECT label, sum(n) FROM counter WHERE name = ? AND day >= ? GROUP BY label ORDER BY 2 DESC, 1",
        [name, since],
    )
    return dict(rows.fetchall())


def by_day(db: Database, name: str, *, since: str) -> dict[str, int]:
    """Return the sum of each day, in order of time; days without any are left out."""
    rows = db.conn.execute(
        "SELECT day, sum(n) FROM counter WHERE name = ? AND day >= ? GROUP BY day ORDER BY day", [name, since]
    )
    return dict(rows.fetchall())


THREATS = "threats"
CLEAN = "threats.clean"
"""Events that the ATR reporter sends for a file in which it found nothing (rule `__clean__`)."""
SEALED = "threats.sealed"
"""Sealed reports; how many events are in one cannot be seen."""
KEYLESS = "reports.without_key"
"""Requests without a key, of every kind of report."""
SKILL_THREATS = "skill_threats"
SKILL_TRUST = "skill_trust"


def add_hourly(db: Database, hour: str, counts: Mapping[str, int]) -> None:
    """Add to the counts of an hour (an instant as text)."""
    db.conn.executemany(
        "INSERT INTO report_tally (hour, name, count) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET count = count + excluded.count",
        [(hour, name, count) for name, count in counts.items() if count],
    )


def hourly_totals(db: Database, since: str = "") -> dict[str, int]:
    """Return the sum of each hourly counter, of the hours from `since` on."""
    rows = db.conn.execute(
        "SELECT name, sum(count) FROM report_tally WHERE hour >= ? GROUP BY name ORDER BY name", [since]
    )
    return {name: int(count) for name, count in rows}


def purge_hourly(db: Database, before: str) -> int:
    """Delete the counts of hours before an instant; return how many rows."""
    return db.conn.execute("DELETE FROM report_tally WHERE hour < ?", [before]).rowcount
