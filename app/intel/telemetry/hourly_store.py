"""How many reports of each kind came in each hour: sums that name nobody and outlive what they count."""

from collections.abc import Mapping

from sqlite_utils import Database

THREATS = "threats"
CLEAN = "threats.clean"
"""What the ATR reporter sends for a file in which it found nothing (rule `__clean__`)."""
SEALED = "threats.sealed"
"""Sealed envelopes: how many events are in one cannot be seen."""
KEYLESS = "reports.without_key"
"""Requests without a key, whatever they reported."""
SKILL_THREATS = "skill_threats"
SKILL_TRUST = "skill_trust"


def tally(db: Database, hour: str, counts: Mapping[str, int]) -> None:
    """Add to the counts of an hour (an instant as text)."""
    db.conn.executemany(
        "INSERT INTO report_tally (hour, name, count) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET count = count + excluded.count",
        [(hour, name, count) for name, count in counts.items() if count],
    )


def totals(db: Database, since: str = "") -> dict[str, int]:
    """The sum of each count, of the hours from `since` on."""
    rows = db.conn.execute(
        "SELECT name, sum(count) FROM report_tally WHERE hour >= ? GROUP BY name ORDER BY name", [since]
    )
    return {name: int(count) for name, count in rows}
