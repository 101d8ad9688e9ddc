"""The fleet: every enrolled agent key, what it reported of its host, and whether it has the rules served now.

A key is the unit, because it is what the instance knows for certain; several hosts that share one key show as one
agent. What a client says of itself (version, host name) is shown as reported and decides nothing.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec

from app.http.timestamps import to_text

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
