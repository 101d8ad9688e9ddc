"""The fleet: every enrolled agent key, what it reported of its host, and whether it has the rules served now.

A key is the unit, because it is what the instance knows for certain; several hosts that share one key show as one
agent. What a client says of itself (version, host name) is shown as reported and decides nothing. Events that agents
send to their manager are threat reports: see `app.intel.reports.events`.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec

from app.http.timestamps import to_text
from app.privacy.anonymisation import Pseudonyms, bounded

SyncState = Literal["current", "behind", "never"]
"""Whether an agent has the newest publication, an older one, or was never served rules. On the wire: `standing`."""


class FleetPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an agent needs attention."""

    stale_hours: Annotated[int, msgspec.Meta(ge=1, le=8760)] = 24
    """An agent that did not use its key for so many hours is flagged as stale."""


class SelfReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a client reports of its host; None for what this report does not mention, whose last value stays.

    `device` is the pseudonym of the id that the client calls itself by; `events`, `threats` and `actions` are its
    own counts since it started `uptime_seconds` ago; `agents` is how many AI agents it watches.
    """

    version: str | None = None
    hostname: str | None = None
    os: str | None = None
    arch: str | None = None
    mode: str | None = None
    device: str | None = None
    agents: int | None = None
    events: int | None = None
    threats: int | None = None
    actions: int | None = None
    uptime_seconds: int | None = None
    memory_mb: float | None = None


class FleetAgent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One enrolled agent; instants are texts, and None for what never happened or was never reported.

    `serial` is the publication that it was last served, at `served_at`; `reported_at` is the time of its last report
    of itself.
    """

    id: str
    subject: str
    enrolled: str
    site: str | None
    issued_at: str
    last_seen: str | None
    stale: bool
    standing: SyncState
    serial: int | None
    served_at: str | None
    reported_at: str | None
    version: str | None
    hostname: str | None
    os: str | None
    arch: str | None
    mode: str | None
    device: str | None
    agents: int | None
    events: int | None
    threats: int | None
    actions: int | None
    uptime_seconds: int | None
    memory_mb: float | None


class FleetTotals(msgspec.Struct, frozen=True):
    """How many agents there are; `stale` ones are also counted by their sync state."""

    agents: int
    current: int
    behind: int
    never: int
    stale: int


def sync_state_of(serial: int | None, newest: int) -> SyncState:
    """Return the sync state of an agent that was last served `serial`, while `newest` is served."""
    if serial is None:
        return "never"
    return "current" if serial >= newest else "behind"


def is_stale(last_seen: str | None, issued_at: str, limit: str) -> bool:
    """Return True when the key was not used since `limit`; a key that was never used counts from its issue."""
    return (last_seen or issued_at) < limit


def stale_limit(now: datetime, policy: FleetPolicy) -> str:
    """Return the instant, as text, since which an agent must have used its key."""
    return to_text(now - timedelta(hours=policy.stale_hours))


ReportedCount = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
CONSTANT_VERSIONS = frozenset({"1.0.0", "guard"})
"""The versions that stock Guards of all versions name here (measured, 1.4.5 to 1.9.0): never their own."""


class AgentRegistration(msgspec.Struct, frozen=True):
    """The body of `POST /api/agents/register`; the agent's own address, which it also sends, is not read."""

    hostname: str
    os: str | None = None
    arch: str | None = None
    version: str | None = None


class AgentHeartbeat(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /api/agents/{id}/heartbeat`; `uptime` is in milliseconds."""

    events_processed: ReportedCount | None = None
    threats_detected: ReportedCount | None = None
    actions_executed: ReportedCount | None = None
    mode: str | None = None
    uptime: ReportedCount | None = None
    memory_usage_mb: Annotated[float, msgspec.Meta(ge=0, le=1e9)] | None = msgspec.field(
        default=None, name="memoryUsageMB"
    )


class DeviceHeartbeat(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /api/devices/heartbeat`, as Guards 1.5.5 to 1.6.1 send it; their `orgId` is not read."""

    device_id: str
    hostname: str | None = None
    os_type: str | None = None
    agent_count: ReportedCount | None = None
    guard_version: str | None = None


def report_of_registration(sent: AgentRegistration) -> SelfReport:
    """Return what a registration says of its host."""
    return SelfReport(
        hostname=_text(sent.hostname, 256),
        os=_text(sent.os, 64),
        arch=_text(sent.arch, 32),
        version=_version(sent.version),
    )


def report_of_heartbeat(sent: AgentHeartbeat) -> SelfReport:
    """Return what an agent's heartbeat says."""
    return SelfReport(
        mode=_text(sent.mode, 32),
        events=sent.events_processed,
        threats=sent.threats_detected,
        actions=sent.actions_executed,
        uptime_seconds=None if sent.uptime is None else sent.uptime // 1000,
        memory_mb=sent.memory_usage_mb,
    )


def report_of_device(sent: DeviceHeartbeat, pseudonyms: Pseudonyms) -> SelfReport:
    """Return what a device's heartbeat says; the device itself by its pseudonym."""
    return SelfReport(
        hostname=_text(sent.hostname, 256),
        os=_text(sent.os_type, 64),
        agents=sent.agent_count,
        version=_version(sent.guard_version),
        device=pseudonyms.of("device", sent.device_id[:128]),
    )


def _version(text: str | None) -> str | None:
    return None if text in CONSTANT_VERSIONS else _text(text, 32)


def _text(text: str | None, limit: int) -> str | None:
    return bounded(text, limit) or None if text is not None else None
