"""The fleet: every enrolled agent key, what it said of its host, and whether it has the rules that are served now.

A key is the unit, because it is what the instance knows for certain; several hosts that share one key show as one
agent. What a client says of itself (version, host name) is shown as reported and decides nothing.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec

from app.http.timestamps import to_text

Standing = Literal["current", "behind", "never"]
"""Has it the newest publication, an older one, or was it never served rules?"""


class FleetPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an agent needs somebody's attention."""

    stale_hours: Annotated[int, msgspec.Meta(ge=1, le=8760)] = 24
    """An agent that was not heard of for so many hours is flagged as stale."""


class SelfReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of its host; None is what it did not say this time, and the last word on it stays.

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
    """One enrolled agent; instants are texts, and None for what never happened or was never said.

    `serial` is the publication that it was last served, at `served_at`; `reported_at` is when it last said
    something of itself.
    """

    id: str
    subject: str
    enrolled: str
    site: str | None
    issued_at: str
    last_seen: str | None
    stale: bool
    standing: Standing
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
    """How many agents there are; `stale` ones are also counted by their standing."""

    agents: int
    current: int
    behind: int
    never: int
    stale: int


def standing_of(serial: int | None, newest: int) -> Standing:
    """Where an agent that was last served `serial` stands, when `newest` is served."""
    if serial is None:
        return "never"
    return "current" if serial >= newest else "behind"


def is_stale(last_seen: str | None, issued_at: str, limit: str) -> bool:
    """Was nothing heard of it since `limit`? A key that was never used counts from when it was issued."""
    return (last_seen or issued_at) < limit


def stale_limit(now: datetime, policy: FleetPolicy) -> str:
    """The instant, as text, before which an agent must not have been silent."""
    return to_text(now - timedelta(hours=policy.stale_hours))
