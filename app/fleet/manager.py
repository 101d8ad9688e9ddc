"""What agents report to their manager of themselves: who they are and how they are. Pure.

The events that they report on the same channel are threat reports: see `app.intel.reports.events`.
"""

from typing import Annotated

import msgspec

from app.fleet.agents import SelfReport
from app.privacy.anonymisation import Pseudonyms, bounded

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
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

    events_processed: Count | None = None
    threats_detected: Count | None = None
    actions_executed: Count | None = None
    mode: str | None = None
    uptime: Count | None = None
    memory_usage_mb: Annotated[float, msgspec.Meta(ge=0, le=1e9)] | None = msgspec.field(
        default=None, name="memoryUsageMB"
    )


class DeviceHeartbeat(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /api/devices/heartbeat`, as Guards 1.5.5 to 1.6.1 send it; their `orgId` is not read."""

    device_id: str
    hostname: str | None = None
    os_type: str | None = None
    agent_count: Count | None = None
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
