"""Threat events over HTTP: what Guards, the ATR reporter, traps and managed agents send."""

from litestar import Response, get, post
from litestar.params import FromPath

from app.access.guards import instant_of, principal_of, require, require_reporter
from app.access.roles import Role
from app.fleet.routes import Recorded, require_own_key
from app.http.envelope import AnyRequest, answer
from app.http.paging import cursor_for, page_of
from app.http.problem import bad_request
from app.http.tolerant import read_batch, read_one
from app.intel.reporter import Reporter, reporter_of
from app.intel.reports.events import AgentEvent, Channel, Cleaner, Event, TrapEvent, threat_of
from app.intel.reports.service import ReceivedEvents, Reports
from app.intel.reports.store import list_threats
from app.privacy.anonymisation import Pseudonyms

CHANNELS: tuple[Channel, ...] = ("threats", "trap", "manager")
_reporters = [require_reporter(Role.AGENT, Role.ADMIN)]


@post("/api/threats", guards=_reporters)
async def report_threats(request: AnyRequest) -> Response[bytes]:
    """Take events of a Guard or the ATR reporter: `{events: [...]}`, one event, or either sealed.

    `clean` are scans that found nothing, which are counted apart; `sealed` is counted and never decrypted.
    """
    batch = await read_batch(request, Event, "events")
    now = instant_of(request)
    cleaner = Cleaner(_pseudonyms(request), now)
    sealed = [event.sealed for event in batch.items if event.sealed is not None]
    plain = [event for event in batch.items if event.sealed is None]
    clean = sum(event.is_clean for event in plain)
    threats = [cleaner.event(event) for event in plain if event.attack_type and not event.is_clean]
    skipped = batch.skipped + len(plain) - clean - len(threats)
    if skipped and not (threats or clean or sealed):
        raise bad_request("attackType: a text is needed in each event", "attackType")
    received = ReceivedEvents(threats, clean, sealed)
    await _reports(request).keep("threats", received, sender_of(request), now)
    data = {
        "message": "Threat data received",
        "count": len(threats),
        "clean": clean,
        "sealed": len(sealed),
        "skipped": skipped,
    }
    return answer(request, data, status=201)


@post("/api/trap-intel", guards=_reporters)
async def report_trap_events(request: AnyRequest) -> Response[bytes]:
    """Take events of a trap: a bare list, as the stock trap sends it."""
    batch = await read_batch(request, TrapEvent, "events")
    now = instant_of(request)
    cleaner = Cleaner(_pseudonyms(request), now)
    threats = [cleaner.trap(event) for event in batch.items]
    await _reports(request).keep("trap", ReceivedEvents(threats), sender_of(request), now)
    data = {"message": "Trap data received", "count": len(threats), "skipped": batch.skipped}
    return answer(request, data, status=201)


@post("/api/agents/{agent_id:str}/events", guards=[require(Role.AGENT)], status_code=201)
async def agent_event(request: AnyRequest, agent_id: FromPath[str]) -> Response[bytes]:
    """Take an event that an agent saw. It comes raw; only what a threat report has is kept of it, masked."""
    body = await read_one(request, AgentEvent)
    require_own_key(request, agent_id)
    now = instant_of(request)
    threats = [] if body.is_benign else [threat_of(body, Cleaner(_pseudonyms(request), now))]
    received = ReceivedEvents(threats, clean=int(body.is_benign))
    await _reports(request).keep("manager", received, sender_of(request), now)
    return answer(request, Recorded(True), status=201)


@get("/api/threats", guards=[require(Role.ADMIN)])
async def show_threats(request: AnyRequest) -> Response[bytes]:
    """List kept events, newest first: masked, on the hour, and whose they are; `channel=` selects how they came."""
    page = page_of(request.query_params, key_parts=1)
    channel = request.query_params.get("channel")
    if channel is not None and channel not in CHANNELS:
        raise bad_request(f"channel: one of {', '.join(CHANNELS)}", "channel")
    rows = await request.app.state.storage.read(lambda db: list_threats(db, page, channel))
    shown = rows[: page.limit]
    following = cursor_for([str(shown[-1].id)]) if len(rows) > page.limit else None
    return answer(request, shown, meta={"next": following})


def sender_of(request: AnyRequest) -> Reporter:
    """Return who sent this report."""
    client_id = request.headers.get("x-panguard-client-id")
    return reporter_of(principal_of(request), client_id, _pseudonyms(request))


def _pseudonyms(request: AnyRequest) -> Pseudonyms:
    pseudonyms: Pseudonyms = request.app.state.pseudonyms
    return pseudonyms


def _reports(request: AnyRequest) -> Reports:
    reports: Reports = request.app.state.reports
    return reports


report_handlers = [report_threats, report_trap_events, agent_event, show_threats]
