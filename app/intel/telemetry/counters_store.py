"""Counts per day, name and label. They hold nobody's data, so they are kept when what was counted is purged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlite_utils import Database

MAX_LABELS = 100
"""Labels of one name on one day; labels come from clients, some of them without a key."""
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Count:
    """`n` more of what `name` counts, under a label that tells kinds of it apart (empty for none)."""

    name: str
    label: str = ""
    n: int = 1


def add(db: Database, day: str, counts: Iterable[Count]) -> None:
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


def total(db: Database, name: str, *, since: str = "", label: str | None = None) -> int:
    """The sum over all days from `since` on, of one label or of all."""
    only, values = ("", []) if label is None else (" AND label = ?", [label])
    row = db.conn.execute(
        f"SELECT coalesce(sum(n), 0) FROM counter WHERE name = ? AND day >= ?{only}",  # noqa: S608
        [name, since, *values],
    ).fetchone()
    return int(row[0])


def by_label(db: Database, name: str, *, since: str = "") -> dict[str, int]:
    """Label -> sum, the largest first."""
    rows = db.conn.execute(
        "SELECT label, sum(n) FROM counter WHERE name = ? AND day >= ? GROUP BY label ORDER BY 2 DESC, 1",
        [name, since],
    )
    return dict(rows.fetchall())


def by_day(db: Database, name: str, *, since: str) -> dict[str, int]:
    """Day -> sum, in order of time; days without any are left out."""
    rows = db.conn.execute(
        "SELECT day, sum(n) FROM counter WHERE name = ? AND day >= ? GROUP BY day ORDER BY day", [name, since]
    )
    return dict(rows.fetchall())
