"""Reports of tools over HTTP: scan events, telemetry, usage, activations, and skills to analyse."""

from litestar import get, post
from litestar.response import Response
from sqlite_utils import Database

from app.access.guards import instant_of, principal_of, require, require_reporter
from app.access.principal import Role
from app.fleet.agents import SelfReport
from app.fleet.routes import Recorded
from app.fleet.store import keep_report
from app.http.envelope import AnyRequest, answer
from app.http.timestamps import to_text
from app.http.tolerant import read_one
from app.intel.skills.analysis import SHARED, Analysis, Skills, analyses_of, content_hash
from app.intel.skills.versions_store import see
from app.intel.telemetry.store import (
    activation_totals,
    record_activation,
    record_scan,
    record_telemetry,
    record_usage,
    scan_totals,
    telemetry_totals,
    usage_totals,
)
from app.intel.telemetry.totals import Activation, ScanEvent, Telemetry, Usage
from app.privacy.anonymisation import bounded

_reporters = [require_reporter(Role.AGENT, Role.ADMIN)]
_admins = [require(Role.ADMIN)]


@post("/api/scan-events", guards=_reporters, status_code=201)
async def scan_event(request: AnyRequest) -> Response[bytes]:
    """Count what a scanner looked at and found."""
    body = await read_one(request, ScanEvent)
    now, subject, pseudonyms = instant_of(request), _subject(request), request.app.state.intel.pseudonyms
    await request.app.state.storage.write(lambda db: record_scan(db, body, subject, pseudonyms, now))
    return answer(request, Recorded(True), status=201)


@get("/api/scan-events", guards=_admins)
async def show_scan_events(request: AnyRequest) -> Response[bytes]:
    """Totals by kind of scanner."""
    return answer(request, await request.app.state.storage.read(scan_totals))


@post("/api/telemetry", guards=_reporters, status_code=200)
async def telemetry(request: AnyRequest) -> Response[bytes]:
    """Count one event of a tool."""
    body = await read_one(request, Telemetry)
    now = instant_of(request)
    await request.app.state.storage.write(lambda db: record_telemetry(db, body, now))
    return answer(request, Recorded(True))


@get("/api/telemetry", guards=_admins)
async def show_telemetry(request: AnyRequest) -> Response[bytes]:
    """Totals of telemetry."""
    now = instant_of(request)
    return answer(request, await request.app.state.storage.read(lambda db: telemetry_totals(db, now)))


@post("/api/usage", guards=_reporters, status_code=200)
async def usage(request: AnyRequest) -> Response[bytes]:
    """Count one use of a tool."""
    body = await read_one(request, Usage)
    now = instant_of(request)
    await request.app.state.storage.write(lambda db: record_usage(db, body, now))
    return answer(request, Recorded(True))


@get("/api/usage", guards=_admins)
async def show_usage(request: AnyRequest) -> Response[bytes]:
    """Totals of use, and the trend of 30 days."""
    now = instant_of(request)
    return answer(request, await request.app.state.storage.read(lambda db: usage_totals(db, now)))


@post("/api/activations", guards=_reporters, status_code=200)
async def activation(request: AnyRequest) -> Response[bytes]:
    """Count a client's first start; `recorded` is false when it was counted before."""
    body = await read_one(request, Activation)
    now, principal, pseudonyms = (
        instant_of(request),
        principal_of(request),
        request.app.state.intel.pseudonyms,
    )
    version = None if body.panguard_version is None else bounded(body.panguard_version, 32) or None

    def keep(db: Database) -> bool:
        if principal.role is Role.AGENT and version is not None:
            keep_report(db, principal.key_id, SelfReport(version=version), to_text(now))
        return record_activation(db, body, _subject(request), pseudonyms, now)

    return answer(request, Recorded(await request.app.state.storage.write(keep)))


@get("/api/activations", guards=_admins)
async def show_activations(request: AnyRequest) -> Response[bytes]:
    """Totals of activations, and the newest."""
    return answer(request, await request.app.state.storage.read(activation_totals))


@post("/api/analyze-skills", guards=_reporters, status_code=200)
async def analyze_skills(request: AnyRequest) -> Response[bytes]:
    """Say of each skill whether its contents changed under the caller; there is no model here to judge them."""
    body = await read_one(request, Skills)
    subject, at = _subject(request) or SHARED, to_text(instant_of(request))
    hashed = [(bounded(skill.package, 200) or "unnamed", content_hash(skill.tools)) for skill in body.skills]

    def look(db: Database) -> list[Analysis]:
        return [
            Analysis(name, digest, rug_pull_detected=see(db, subject, name, digest, at))
            for name, digest in hashed
        ]

    return answer(request, analyses_of(await request.app.state.storage.write(look)))


def _subject(request: AnyRequest) -> str | None:
    """The identity behind a report; None for one without a key, which stands behind nothing."""
    principal = principal_of(request)
    return None if principal.role is None else principal.subject


tool_handlers = [
    scan_event,
    show_scan_events,
    telemetry,
    show_telemetry,
    usage,
    show_usage,
    activation,
    show_activations,
    analyze_skills,
]
