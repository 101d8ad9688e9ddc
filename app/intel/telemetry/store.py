"""The SQL of what tools report: counted, hardly kept.

Beside the counts only pseudonyms of clients and devices are kept, so that each is counted once.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlite_utils import Database

from app.http.timestamps import to_text
from app.intel.telemetry.counters_store import OTHER, Count, add, by_day, by_label, total
from app.intel.telemetry.totals import (
    SCAN_SOURCES,
    TELEMETRY_EVENTS,
    USAGE_EVENTS,
    Activation,
    ActivationTotals,
    DayCount,
    ScanEvent,
    ScanTotals,
    SeenActivation,
    Telemetry,
    TelemetryTotals,
    Usage,
    UsageTotals,
)
from app.privacy.anonymisation import Pseudonyms, bounded

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
    """`2026-04-17`, in UTC."""
    return to_text(instant)[:10]


def record_scan(
    db: Database, event: ScanEvent, subject: str | None, pseudonyms: Pseudonyms, now: datetime
) -> None:
    """Count what a scanner found, and the device it ran on."""
    source = event.source if event.source in SCAN_SOURCES else OTHER
    amounts = msgspec.structs.asdict(event)
    counts = [Count(f"scan.{name}", source, amounts[name]) for name in _AMOUNTS]
    add(db, day_of(now), [Count("scan.events", source), *counts])
    if event.device_hash is not None:
        db.conn.execute(
            "INSERT INTO scanner (source, device, subject, seen_at) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET seen_at = excluded.seen_at, subject = coalesce(excluded.subject, subject)",
            [source, pseudonyms.of("device", event.device_hash[:128]), subject, to_text(now)],
        )


def scan_totals(db: Database) -> dict[str, ScanTotals]:
    """Totals by kind of scanner; the kinds that stock tools have are always there."""
    amounts = {name: by_label(db, f"scan.{name}") for name in ("events", *_AMOUNTS)}
    devices = dict(db.conn.execute("SELECT source, count(*) FROM scanner GROUP BY source").fetchall())
    return {
        source: ScanTotals(
            **{name: labels.get(source, 0) for name, labels in amounts.items()},
            devices=devices.get(source, 0),
        )
        for source in sorted({*SCAN_SOURCES, *amounts["events"]})
    }


def record_telemetry(db: Database, event: Telemetry, now: datetime) -> None:
    """Count one event of a tool."""
    counts = [
        Count("telemetry.event", event.event if event.event in TELEMETRY_EVENTS else OTHER),
        Count("telemetry.platform", _label(event.platform)),
    ]
    if event.finding_count is not None:
        counts += [Count("telemetry.found"), Count("telemetry.findings", n=event.finding_count)]
    add(db, day_of(now), counts)


def telemetry_totals(db: Database, now: datetime) -> TelemetryTotals:
    """What tools sent as telemetry."""
    found = total(db, "telemetry.found")
    return TelemetryTotals(
        total_events=total(db, "telemetry.event"),
        events_today=total(db, "telemetry.event", since=day_of(now)),
        by_event_type=by_label(db, "telemetry.event"),
        by_platform=by_label(db, "telemetry.platform"),
        avg_finding_count=round(total(db, "telemetry.findings") / found, 2) if found else 0.0,
    )


def record_usage(db: Database, event: Usage, now: datetime) -> None:
    """Count one use of a tool."""
    name = event.event_type if event.event_type in USAGE_EVENTS else OTHER
    counts = [Count("usage.event", name)]
    if name.startswith(("scan", "cli_scan")):
        counts.append(Count("usage.scan", _label(event.source)))
    add(db, day_of(now), counts)


def usage_totals(db: Database, now: datetime) -> UsageTotals:
    """How often tools were used."""
    trend = by_day(db, "usage.scan", since=day_of(now - timedelta(days=29)))
    return UsageTotals(
        total_scans=total(db, "usage.scan"),
        scans_today=total(db, "usage.scan", since=day_of(now)),
        scans_this_week=total(db, "usage.scan", since=day_of(now - timedelta(days=6))),
        scans_by_source=by_label(db, "usage.scan"),
        cli_installs=total(db, "usage.event", label="cli_install"),
        by_event_type=by_label(db, "usage.event"),
        daily_trend=[DayCount(day, n) for day, n in trend.items()],
    )


def record_activation(
    db: Database, event: Activation, subject: str | None, pseudonyms: Pseudonyms, now: datetime
) -> bool:
    """Keep a client's first activation; False when it was activated before."""
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
        add(db, day_of(now), [Count("activation.platform", platform), Count("activation.os", os_type)])
    return bool(is_new)


def activation_totals(db: Database) -> ActivationTotals:
    """Who began to use the tools."""
    rows = db.conn.execute(
        "SELECT client, at, platform, os, version, node FROM activation ORDER BY at DESC, client LIMIT 20"
    )
    return ActivationTotals(
        total=total(db, "activation.platform"),
        by_platform=by_label(db, "activation.platform"),
        by_os=by_label(db, "activation.os"),
        recent=[SeenActivation(*row) for row in rows],
    )


def export_tools(db: Database, subject: str) -> dict[str, list[dict[str, Any]]]:
    """Everything kept here that one identity sent."""
    found: dict[str, list[dict[str, Any]]] = {}
    for table, columns in _TABLES.items():
        rows = db.conn.execute(
            f"SELECT {', '.join(columns)} FROM {table} WHERE subject = ? ORDER BY 1, 2",
            [subject],
        )
        found[table] = [dict(zip(columns, row, strict=True)) for row in rows]
    return found


def erase_tools(db: Database, subject: str) -> int:
    """Forget all of that; counts stay. Returns rows."""
    return sum(
        db.conn.execute(f"DELETE FROM {table} WHERE subject = ?", [subject]).rowcount for table in _TABLES
    )


def purge_tools(db: Database, before: str) -> int:
    """Forget devices and activations older than an instant. Returns rows."""
    return (
        db.conn.execute("DELETE FROM scanner WHERE seen_at < ?", [before]).rowcount
        + db.conn.execute("DELETE FROM activation WHERE at < ?", [before]).rowcount
    )


def _label(text: str | None) -> str:
    return bounded(text or "", 40) or UNKNOWN
