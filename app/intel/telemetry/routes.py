"""Reports of tools over HTTP: scan events, telemetry, usage and activations."""

from datetime import datetime

from litestar import get, post
from litestar.di import NamedDependency

from app.access.principal import Principal, Role
from app.access.route_guards import require, require_reporter
from app.fleet.routes import Recorded
from app.http.requests import TolerantBody
from app.intel.telemetry.service import Telemetry
from app.intel.telemetry.store import (
    ActivationTotals,
    NewActivation,
    ScanEvent,
    ScanTotals,
    TelemetryEvent,
    TelemetryTotals,
    UsageEvent,
    UsageTotals,
)

_reporters = [require_reporter(Role.AGENT, Role.ADMIN)]
_admins = [require(Role.ADMIN)]


@post("/api/scan-events", guards=_reporters)
async def scan_event(
    telemetry: NamedDependency[Telemetry],
    data: TolerantBody[ScanEvent],
    principal: NamedDependency[Principal],
    now: NamedDependency[datetime],
) -> Recorded:
    """Count what a scanner looked at and found."""
    await telemetry.count_scan(data, principal, now)
    return Recorded(True)


@get("/api/scan-events", guards=_admins)
async def show_scan_events(telemetry: NamedDependency[Telemetry]) -> dict[str, ScanTotals]:
    """Return totals by kind of scanner."""
    return await telemetry.scan_totals()


@post("/api/telemetry", guards=_reporters, status_code=200)
async def telemetry_event(
    telemetry: NamedDependency[Telemetry],
    data: TolerantBody[TelemetryEvent],
    now: NamedDependency[datetime],
) -> Recorded:
    """Count one event of a tool."""
    await telemetry.count_event(data, now)
    return Recorded(True)


@get("/api/telemetry", guards=_admins)
async def show_telemetry(
    telemetry: NamedDependency[Telemetry], now: NamedDependency[datetime]
) -> TelemetryTotals:
    """Return totals of telemetry."""
    return await telemetry.event_totals(now)


@post("/api/usage", guards=_reporters, status_code=200)
async def usage(
    telemetry: NamedDependency[Telemetry], data: TolerantBody[UsageEvent], now: NamedDependency[datetime]
) -> Recorded:
    """Count one use of a tool."""
    await telemetry.count_use(data, now)
    return Recorded(True)


@get("/api/usage", guards=_admins)
async def show_usage(telemetry: NamedDependency[Telemetry], now: NamedDependency[datetime]) -> UsageTotals:
    """Return totals of use, and the trend of 30 days."""
    return await telemetry.usage_totals(now)


@post("/api/activations", guards=_reporters, status_code=200)
async def activation(
    telemetry: NamedDependency[Telemetry],
    data: TolerantBody[NewActivation],
    principal: NamedDependency[Principal],
    now: NamedDependency[datetime],
) -> Recorded:
    """Count a client's first start; `recorded` is false when it was counted before."""
    return Recorded(await telemetry.count_activation(data, principal, now))


@get("/api/activations", guards=_admins)
async def show_activations(telemetry: NamedDependency[Telemetry]) -> ActivationTotals:
    """Return totals of activations, and the newest."""
    return await telemetry.activation_totals()


telemetry_handlers = [
    scan_event,
    show_scan_events,
    telemetry_event,
    show_telemetry,
    usage,
    show_usage,
    activation,
    show_activations,
]
