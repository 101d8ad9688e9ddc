"""The SQL of what tools report of their own use: scan events, telemetry, usage, activations; and the totals of it.

Reports are counted and hardly kept. Beside the counts only pseudonyms of clients and devices are kept, so that each
is counted once. Stock tools send reports without a key and ignore the answer, so nothing but counts rests on them.
"""

from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from sqlite_utils import Database

from app.http.timestamps import to_text
from app.intel.telemetry.counters_store import (
    OTHER,
    Count,
    add_daily,
    by_day,
    by_label,
    daily_total,
    purge_hourly,
)
from app.privacy.anonymisation import Pseudonyms, bounded
from app.privacy.personal_data import Expiry, PersonalData, Rows

Number = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
"""Cut where it is kept: a tool that is refused for a long text reports nothing any more."""
SCAN_SOURCES = ("bulk-pipeline", "cli-user", "web-scanner")

TELEMETRY_EVENTS = frozenset(
    {
        "scan_local",
        "scan_local_json",
        "scan_remote",
        "scan_remote_json",
        "guard_audit",
        "guard_start",
        "skill_install",
        "skill_audit",
    }
)
USAGE_EVENTS = frozenset(
    {
        "scan",
        "cli_install",
        "cli_setup",
        "cli_scan",
        "cli_scan_local",
        "cli_scan_local_json",
        "cli_scan_remote",
        "cli_scan_remote_json",
        "guard_start",
        "page_view",
    }
)
"""The events that stock tools send; the public server refuses half of them. Others are counted as `other`."""


class ScanEvent(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /api/scan-events`; `device_hash` is the client's uuid, in spite of its name."""

    source: Text
    skills_scanned: Number
    findings_count: Number
    confirmed_malicious: Number = 0
    highly_suspicious: Number = 0
    general_suspicious: Number = 0
    clean_count: Number = 0
    device_hash: Text | None = None


class TelemetryEvent(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /api/telemetry`."""

    event: Text
    platform: Text | None = None
    finding_count: Number | None = None


class UsageEvent(msgspec.Struct, frozen=True):
    """The body of `POST /api/usage`; its metadata name skills and hosts, and are not even read."""

    event_type: Text
    source: Text | None = None


class NewActivation(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /api/activations`."""

    client_id: Text
    platform: Text | None = None
    os_type: Text | None = None
    panguard_version: Text | None = None
    node_version: Text | None = None


class ScanTotals(msgspec.Struct, frozen=True, rename="camel"):
    """What one kind of scanner reported; `devices` are the distinct ones that retention has left."""

    events: int
    skills_scanned: int
    findings_count: int
    confirmed_malicious: int
    highly_suspicious: int
    general_suspicious: int
    clean_count: int
    devices: int


class TelemetryTotals(msgspec.Struct, frozen=True, rename="camel"):
    """`avg_finding_count` is over the events that gave a count, 0 when none did."""

    total_events: int
    events_today: int
    by_event_type: dict[str, int]
    by_platform: dict[str, int]
    avg_finding_count: float


class DayCount(msgspec.Struct, frozen=True):
    """How many on one day."""

    date: str
    count: int


class UsageTotals(msgspec.Struct, frozen=True, rename="camel"):
    """A scan is any event whose name begins with `scan` or `cli_scan`; the trend is of the last 30 days."""

    total_scans: int
    scans_today: int
    scans_this_week: int
    scans_by_source: dict[str, int]
    cli_installs: int
    by_event_type: dict[str, int]
    daily_trend: list[DayCount]


class SeenActivation(msgspec.Struct, frozen=True, rename="camel"):
    """One activation; `client` is a pseudonym."""

    client: str
    at: str
    platform: str
    os_type: str
    panguard_version: str
    node_version: str


class ActivationTotals(msgspec.Struct, frozen=True, rename="camel"):
    """`recent` are the 20 newest ones."""

    total: int
    by_platform: dict[str, int]
    by_os: dict[str, int]
    recent: list[SeenActivation]


UNKNOWN = "unknown"
_AMOUNTS = (
    "skills_scanned",
    "findings_count",
    "confirmed_malicious",
    "highly_suspicious",
    "general_suspicious",
    "clean_count",
)
_TABLES = {
    "scanner": ("source", "device", "seen_at"),
    "activation": ("client", "at", "platform", "os", "version", "node"),
}


def day_of(instant: datetime) -> str:
    """Return the day in UTC, such as `2026-04-17`."""
    return to_text(instant)[:10]


def record_scan(
    db: Database, event: ScanEvent, subject: str | None, pseudonyms: Pseudonyms, now: datetime
) -> None:
    """Count what a scanner found, and the device it ran on."""
    source = event.source if event.source in SCAN_SOURCES else OTHER
    amounts = msgspec.structs.asdict(event)
    counts = [Count(f"scan.{name}", source, amounts[name]) for name in _AMOUNTS]
    add_daily(db, day_of(now), [Count("scan.events", source), *counts])
    if event.device_hash is not None:
        db.conn.execute(
            "INSERT INTO scanner (source, device, subject, seen_at) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET seen_at = excluded.seen_at, subject = coalesce(excluded.subject, subject)",
            [source, pseudonyms.of("device", event.device_hash[:128]), subject, to_text(now)],
        )


def scan_totals(db: Database) -> dict[str, ScanTotals]:
    """Return totals by kind of scanner; the kinds that stock tools have are always there."""
    amounts = {name: by_label(db, f"scan.{name}") for name in ("events", *_AMOUNTS)}
    devices = dict(db.conn.execute("SELECT source, count(*) FROM scanner GROUP BY source").fetchall())
    return {
        source: ScanTotals(
            **{name: labels.get(source, 0) for name, labels in amounts.items()},
            devices=devices.get(source, 0),
        )
        for source in sorted({*SCAN_SOURCES, *amounts["events"]})
    }


def record_telemetry(db: Database, event: TelemetryEvent, now: datetime) -> None:
    """Count one event of a tool."""
    counts = [
        Count("telemetry.event", event.event if event.event in TELEMETRY_EVENTS else OTHER),
        Count("telemetry.platform", _label(event.platform)),
    ]
    if event.finding_count is not None:
        counts += [Count("telemetry.found"), Count("telemetry.findings", n=event.finding_count)]
    add_daily(db, day_of(now), counts)


def telemetry_totals(db: Database, now: datetime) -> TelemetryTotals:
    """Return totals of telemetry."""
    found = daily_total(db, "telemetry.found")
    return TelemetryTotals(
        total_events=daily_total(db, "telemetry.event"),
        events_today=daily_total(db, "telemetry.event", since=day_of(now)),
        by_event_type=by_label(db, "telemetry.event"),
        by_platform=by_label(db, "telemetry.platform"),
        avg_finding_count=round(daily_total(db, "telemetry.findings") / found, 2) if found else 0.0,
    )


def record_usage(db: Database, event: UsageEvent, now: datetime) -> None:
    """Count one use of a tool."""
    name = event.event_type if event.event_type in USAGE_EVENTS else OTHER
    counts = [Count("usage.event", name)]
    if name.startswith(("scan", "cli_scan")):
        counts.append(Count("usage.scan", _label(event.source)))
    add_daily(db, day_of(now), counts)


def usage_totals(db: Database, now: datetime) -> UsageTotals:
    """Return how often tools were used."""
    trend = by_day(db, "usage.scan", since=day_of(now - timedelta(days=29)))
    return UsageTotals(
        total_scans=daily_total(db, "usage.scan"),
        scans_today=daily_total(db, "usage.scan", since=day_of(now)),
        scans_this_week=daily_total(db, "usage.scan", since=day_of(now - timedelta(days=6))),
        scans_by_source=by_label(db, "usage.scan"),
        cli_installs=daily_total(db, "usage.event", label="cli_install"),
        by_event_type=by_label(db, "usage.event"),
        daily_trend=[DayCount(day, n) for day, n in trend.items()],
    )


def record_activation(
    db: Database, event: NewActivation, subject: str | None, pseudonyms: Pseudonyms, now: datetime
) -> bool:
    """Keep a client's first activation; return False when it was activated before."""
    platform, os_type = _label(event.platform), _label(event.os_type)
    version, node = _label(event.panguard_version), _label(event.node_version)
    is_new = db.conn.execute(
        "INSERT OR IGNORE INTO activation (client, at, platform, os, version, node, subject)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            pseudonyms.of("client", event.client_id[:128]),
            to_text(now),
            platform,
            os_type,
            version,
            node,
            subject,
        ],
    ).rowcount
    if is_new:
        add_daily(db, day_of(now), [Count("activation.platform", platform), Count("activation.os", os_type)])
    return bool(is_new)


def activation_totals(db: Database) -> ActivationTotals:
    """Return totals of activations, and the newest."""
    rows = db.conn.execute(
        "SELECT client, at, platform, os, version, node FROM activation ORDER BY at DESC, client LIMIT 20"
    )
    return ActivationTotals(
        total=daily_total(db, "activation.platform"),
        by_platform=by_label(db, "activation.platform"),
        by_os=by_label(db, "activation.os"),
        recent=[SeenActivation(*row) for row in rows],
    )


def export_tools(db: Database, subject: str) -> dict[str, Rows]:
    """Return everything kept here that one identity sent."""
    found: dict[str, Rows] = {}
    for table, columns in _TABLES.items():
        sql = f"SELECT {', '.join(columns)} FROM {table} WHERE subject = ? ORDER BY 1, 2"
        found[table] = list(db.query(sql, [subject]))
    return found


def erase_tools(db: Database, subject: str) -> int:
    """Delete all of that; counts stay. Return how many rows."""
    return sum(
        db.conn.execute(f"DELETE FROM {table} WHERE subject = ?", [subject]).rowcount for table in _TABLES
    )


def purge_tools(db: Database, before: str) -> int:
    """Delete devices and activations older than an instant. Return how many rows."""
    return (
        db.conn.execute("DELETE FROM scanner WHERE seen_at < ?", [before]).rowcount
        + db.conn.execute("DELETE FROM activation WHERE at < ?", [before]).rowcount
    )


TELEMETRY_DATA = PersonalData(
    export=export_tools,
    erase=lambda db, subject, _at: {"tools": erase_tools(db, subject)},
    expiries=(
        Expiry("tools", lambda policy: policy.fleet_days, lambda db, before, _at: purge_tools(db, before)),
        Expiry("counts", lambda policy: policy.counts_days, lambda db, before, _at: purge_hourly(db, before)),
    ),
)


def _label(text: str | None) -> str:
    return bounded(text or "", 40) or UNKNOWN
