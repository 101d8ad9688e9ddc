"""Reports of tools over HTTP: scan events, telemetry, usage and activations."""

from litestar import get, post
from litestar.response import Response

from app.access.guards import instant_of, principal_of, require, require_reporter
from app.access.roles import Role
from app.fleet.routes import Recorded
from app.http.envelope import AnyRequest, answer
from app.http.tolerant import read_one
from app.intel.telemetry.service import Telemetry
from app.intel.telemetry.store import NewActivation, ScanEvent, TelemetryEvent, UsageEvent

_reporters = [require_reporter(Role.AGENT, Role.ADMIN)]
_admins = [require(Role.ADMIN)]


@post("/api/scan-events", guards=_reporters, status_code=201)
async def scan_event(request: AnyRequest) -> Response[bytes]:
    """Count what a scanner looked at and found."""
    body = await read_one(request, ScanEvent)
    await _telemetry(request).count_scan(body, principal_of(request), instant_of(request))
    return answer(request, Recorded(True), status=201)


@get("/api/scan-events", guards=_admins)
async def show_scan_events(request: AnyRequest) -> Response[bytes]:
    """Return totals by kind of scanner."""
    return answer(request, await _telemetry(request).scan_totals())


@post("/api/telemetry", guards=_reporters, status_code=200)
async def telemetry(request: AnyRequest) -> Response[bytes]:
    """Count one event of a tool."""
    body = await read_one(request, TelemetryEvent)
    await _telemetry(request).count_event(body, instant_of(request))
    return answer(request, Recorded(True))


@get("/api/telemetry", guards=_admins)
async def show_telemetry(request: AnyRequest) -> Response[bytes]:
    """Return totals of telemetry."""
    return answer(request, await _telemetry(request).event_totals(instant_of(request)))


@post("/api/usage", guards=_reporters, status_code=200)
async def usage(request: AnyRequest) -> Response[bytes]:
    """Count one use of a tool."""
    body = await read_one(request, UsageEvent)
    await _telemetry(request).count_use(body, instant_of(request))
    return answer(request, Recorded(True))


@get("/api/usage", guards=_admins)
async def show_usage(request: AnyRequest) -> Response[bytes]:
    """Return totals of use, and the trend of 30 days."""
    return answer(request, await _telemetry(request).usage_totals(instant_of(request)))


@post("/api/activations", guards=_reporters, status_code=200)
async def activation(request: AnyRequest) -> Response[bytes]:
    """Count a client's first start; `recorded` is false when it was counted before."""
    body = await read_one(request, NewActivation)
    is_new = await _telemetry(request).count_activation(body, principal_of(request), instant_of(request))
    return answer(request, Recorded(is_new))


@get("/api/activations", guards=_admins)
async def show_activations(request: AnyRequest) -> Response[bytes]:
    """Return totals of activations, and the newest."""
    return answer(request, await _telemetry(request).activation_totals())


def _telemetry(request: AnyRequest) -> Telemetry:
    service: Telemetry = request.app.state.telemetry
    return service


telemetry_handlers = [
    scan_event,
    show_scan_events,
    telemetry,
    show_telemetry,
    usage,
    show_usage,
    activation,
    show_activations,
]
