"""What agents tell their manager: who they are, how they are, and what they saw. Pure.

The manager channel is how stock Guards of every version, the newest included, report events that this instance can
read. They send each event raw, with host, user, command line and file names in it; of that only what a threat
report has is taken (`threat_of`), and nothing else is stored.
"""

from dataclasses import replace
from typing import Annotated, Any

import msgspec

from app.fleet.agents import SelfReport
from app.intel.reports.threats import Cleaner, Threat
from app.privacy.anonymisation import Pseudonyms, bounded

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
CONSTANT_VERSIONS = frozenset({"1.0.0", "guard"})
"""What stock Guards of all versions call their version here (measured, 1.4.5 to 1.9.0): not one of theirs."""


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


class RawEvent(msgspec.Struct, frozen=True):
    """What of a raw event is read; `metadata` may hold the other end's address and a MITRE technique."""

    category: str | None = None
    severity: str | None = None
    timestamp: str | None = None
    metadata: dict[str, Any] | None = None


class EventVerdict(msgspec.Struct, frozen=True):
    """What the agent made of an event: `benign`, `suspicious` or `malicious`, how sure it is, what it did."""

    conclusion: str | None = None
    confidence: Any = None
    action: str | None = None


class AgentEvent(msgspec.Struct, frozen=True):
    """The body of `POST /api/agents/{id}/events`."""

    event: RawEvent
    verdict: EventVerdict = EventVerdict()

    @property
    def is_benign(self) -> bool:
        """Did the agent find nothing wrong?"""
        return self.verdict.conclusion == "benign"

    @property
    def is_malicious(self) -> bool:
        """Was the agent sure? Only then is the other end's address evidence against it."""
        return self.verdict.conclusion == "malicious"


def threat_of(sent: AgentEvent, cleaner: Cleaner) -> Threat:
    """The threat in a raw event, as stock Guards themselves abstract it for `/api/threats` (measured, 1.4.5)."""
    metadata = sent.event.metadata or {}
    threat = cleaner.threat(
        source=_first_text(metadata, "sourceIP", "remoteAddress"),
        attack_type=sent.event.category or "",
        technique=_first_text(metadata, "mitreTechnique"),
        rule_ids="",
        timestamp=sent.event.timestamp,
        region=None,
        detail={
            "severity": sent.event.severity,
            "conclusion": sent.verdict.conclusion,
            "confidence": sent.verdict.confidence,
            "action": sent.verdict.action,
        },
    )
    return threat if sent.is_malicious else replace(threat, exact_source=None)


def _first_text(metadata: dict[str, Any], *names: str) -> str | None:
    found = (metadata.get(name) for name in names)
    return next((value for value in found if isinstance(value, str) and value), None)


def of_registration(said: AgentRegistration) -> SelfReport:
    """What a registration says of its host."""
    return SelfReport(
        hostname=_text(said.hostname, 256),
        os=_text(said.os, 64),
        arch=_text(said.arch, 32),
        version=_version(said.version),
    )


def of_heartbeat(said: AgentHeartbeat) -> SelfReport:
    """What an agent's heartbeat says."""
    return SelfReport(
        mode=_text(said.mode, 32),
        events=said.events_processed,
        threats=said.threats_detected,
        actions=said.actions_executed,
        uptime_seconds=None if said.uptime is None else said.uptime // 1000,
        memory_mb=said.memory_usage_mb,
    )


def of_device(said: DeviceHeartbeat, pseudonyms: Pseudonyms) -> SelfReport:
    """What a device's heartbeat says; the device itself by its pseudonym."""
    return SelfReport(
        hostname=_text(said.hostname, 256),
        os=_text(said.os_type, 64),
        agents=said.agent_count,
        version=_version(said.guard_version),
        device=pseudonyms.of("device", said.device_id[:128]),
    )


def _version(text: str | None) -> str | None:
    return None if text in CONSTANT_VERSIONS else _text(text, 32)


def _text(text: str | None, limit: int) -> str | None:
    return bounded(text, limit) or None if text is not None else None
