"""Reports of tools: counted right, kept as pseudonyms, once for each client and device."""

from datetime import timedelta

import pytest
from sqlite_utils import Database

from app.http.timestamps import to_text
from app.intel.telemetry.store import (
    NewActivation,
    ScanEvent,
    TelemetryEvent,
    UsageEvent,
    activation_totals,
    erase_tools,
    export_tools,
    purge_tools,
    record_activation,
    record_scan,
    record_telemetry,
    record_usage,
    scan_totals,
    telemetry_totals,
    usage_totals,
)
from app.privacy.anonymisation import Pseudonyms
from tests.clock import NOW
from tests.database import fresh

PSEUDONYMS = Pseudonyms(b"k" * 32)
DAY = timedelta(days=1)
UUID = "0f9d5cf4-3c6b-4a50-a4d1-5a8f3cbb0a11"


@pytest.fixture
def db() -> Database:
    return fresh()


def test_scans_add_up_and_a_device_is_counted_once(db: Database) -> None:
    for device in (UUID, UUID, "another", None):
        record_scan(db, ScanEvent("cli-user", 2, 1, clean_count=1, device_hash=device), None, PSEUDONYMS, NOW)
    record_scan(db, ScanEvent("my own scanner", 10, 0), None, PSEUDONYMS, NOW)
    totals = scan_totals(db)
    cli = totals["cli-user"]
    assert (cli.events, cli.skills_scanned, cli.findings_count, cli.clean_count, cli.devices) == (
        4,
        8,
        4,
        4,
        2,
    )
    assert totals["other"].skills_scanned == 10
    assert totals["bulk-pipeline"].events == 0


def test_telemetry_adds_up(db: Database) -> None:
    record_telemetry(db, TelemetryEvent("skill_audit", "linux-x64", 3), NOW - DAY)
    record_telemetry(db, TelemetryEvent("skill_audit", "linux-x64", 0), NOW)
    record_telemetry(db, TelemetryEvent("guard_start"), NOW)
    record_telemetry(db, TelemetryEvent("made_up", "p" * 5000), NOW)
    totals = telemetry_totals(db, NOW)
    assert (totals.total_events, totals.events_today, totals.avg_finding_count) == (4, 3, 1.5)
    assert totals.by_event_type == {"skill_audit": 2, "guard_start": 1, "other": 1}
    assert totals.by_platform == {"linux-x64": 2, "unknown": 1, "p" * 40: 1}


def test_usage_adds_up(db: Database) -> None:
    for days, event in (
        (40, UsageEvent("scan", "website")),
        (6, UsageEvent("cli_scan", "cli-user")),
        (0, UsageEvent("cli_scan_remote_json", "cli-user")),
        (0, UsageEvent("cli_install")),
        (0, UsageEvent("surprise")),
    ):
        record_usage(db, event, NOW - days * DAY)
    totals = usage_totals(db, NOW)
    assert (totals.total_scans, totals.scans_today, totals.scans_this_week, totals.cli_installs) == (
        3,
        1,
        2,
        1,
    )
    assert totals.scans_by_source == {"cli-user": 2, "website": 1}
    assert totals.by_event_type["other"] == 1
    assert [(day.date, day.count) for day in totals.daily_trend] == [("2026-04-11", 1), ("2026-04-17", 1)]


def test_a_client_is_activated_once_however_often_it_says_so(db: Database) -> None:
    event = NewActivation(UUID, "claude-code", "linux", "1.4.7", "v20.20.2")
    assert [record_activation(db, event, None, PSEUDONYMS, NOW) for _ in range(3)] == [True, False, False]
    assert record_activation(db, NewActivation("another"), None, PSEUDONYMS, NOW)
    totals = activation_totals(db)
    assert totals.total == 2
    assert totals.by_platform == {"claude-code": 1, "unknown": 1}
    assert [one.panguard_version for one in totals.recent if one.os_type == "linux"] == ["1.4.7"]


def test_no_id_of_a_client_is_kept(db: Database) -> None:
    record_activation(db, NewActivation(UUID), "agent-1", PSEUDONYMS, NOW)
    record_scan(db, ScanEvent("cli-user", 1, 0, device_hash=UUID), "agent-1", PSEUDONYMS, NOW)
    assert UUID not in "\n".join(db.conn.iterdump())


def test_what_is_old_goes_and_the_counts_stay(db: Database) -> None:
    record_activation(db, NewActivation(UUID), None, PSEUDONYMS, NOW - DAY)
    record_scan(db, ScanEvent("cli-user", 5, 0, device_hash=UUID), None, PSEUDONYMS, NOW - DAY)
    assert purge_tools(db, to_text(NOW)) == 2
    assert scan_totals(db)["cli-user"].skills_scanned == 5
    assert scan_totals(db)["cli-user"].devices == 0
    assert activation_totals(db).total == 1
    assert activation_totals(db).recent == []


def test_what_one_identity_sent_is_exported_and_erased(db: Database) -> None:
    for subject in ("agent-1", "agent-2", None):
        record_scan(db, ScanEvent("cli-user", 1, 0, device_hash=f"d{subject}"), subject, PSEUDONYMS, NOW)
        record_activation(db, NewActivation(f"c{subject}"), subject, PSEUDONYMS, NOW)
    assert {table: len(rows) for table, rows in export_tools(db, "agent-1").items()} == {
        "scanner": 1,
        "activation": 1,
    }
    assert erase_tools(db, "agent-1") == 2
    assert not any(export_tools(db, "agent-1").values())
    assert scan_totals(db)["cli-user"].devices == 2
