"""What tools report of their own use: scan events, telemetry, usage, activations; and the totals of it.

Stock tools send these without a key and ignore the answer, so nothing but counts rests on them.
"""

from typing import Annotated

import msgspec

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
"""What stock tools send; the public server refuses half of it. Anything else is counted as `other`."""


class ScanEvent(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /api/scan-events`; `device_hash` is the client's uuid, whatever its name says."""

    source: Text
    skills_scanned: Number
    findings_count: Number
    confirmed_malicious: Number = 0
    highly_suspicious: Number = 0
    general_suspicious: Number = 0
    clean_count: Number = 0
    device_hash: Text | None = None


class Telemetry(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /api/telemetry`."""

    event: Text
    platform: Text | None = None
    finding_count: Number | None = None


class Usage(msgspec.Struct, frozen=True):
    """The body of `POST /api/usage`; its metadata name skills and hosts, and are not even read."""

    event_type: Text
    source: Text | None = None


class Activation(msgspec.Struct, frozen=True, rename="camel"):
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
