"""Threat events over HTTP: what Guards, the ATR reporter and traps send."""

from litestar import Response, get, post

from app.access.guards import instant_of, principal_of, require, require_reporter
from app.access.principal import Role
from app.http.envelope import AnyRequest, answer
from app.http.paging import cursor_for, page_of
from app.http.problem import bad_request
from app.http.tolerant import read_batch
from app.intel.reports.reporter import Reporter, reporter_of
from app.intel.reports.threats import Channel, Cleaner, Event, TrapEvent, list_threats
from app.intel.service import Intel, Received

CHANNELS: tuple[Channel, ...] = ("threats", "trap", "manager")
_reporters = [require_reporter(Role.AGENT, Role.ADMIN)]


@post("/api/threats", guards=_reporters)
async def report_threats(request: AnyRequest) -> Response[bytes]:
    """Events of a Guard or the ATR reporter: `{events: [...]}`, one event, or either sealed.

    `clean` are scans that found nothing, which are counted apart; `sealed` is counted and never decrypted.
    """
    batch = await read_batch(request, Event, "events")
    now = instant_of(request)
    cleaner = Cleaner(_intel(request).pseudonyms, now)
    sealed = [event.sealed for event in batch.items if event.sealed is not None]
    plain = [event for event in batch.items if event.sealed is None]
    clean = sum(event.is_clean for event in plain)
    threats = [cleaner.event(event) for event in plain if event.attack_type and not event.is_clean]
    skipped = batch.skipped + len(plain) - clean - len(threats)
    if skipped and not (threats or clean or sealed):
        raise bad_request("attackType: a text is needed in each event", "attackType")
    await _intel(request).keep_threats("threats", Received(threats, clean, sealed), reporter(request), now)
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
    """Events of a trap: a bare list, as the stock trap sends it."""
    batch = await read_batch(request, TrapEvent, "events")
    now = instant_of(request)
    cleaner = Cleaner(_intel(request).pseudonyms, now)
    threats = [cleaner.trap(event) for event in batch.items]
    await _intel(request).keep_threats("trap", Received(threats), reporter(request), now)
    data = {"message": "Trap data received", "count": len(threats), "skipped": batch.skipped}
    return answer(request, data, status=201)


@get("/api/threats", guards=[require(Role.ADMIN)])
async def show_threats(request: AnyRequest) -> Response[bytes]:
    """Kept events, newest first: masked, on the hour, and whose they are; `channel=` how they came."""
    page = page_of(request.query_params, key_parts=1)
    channel = request.query_params.get("channel")
    if channel is not None and channel not in CHANNELS:
        raise bad_request(f"channel: one of {', '.join(CHANNELS)}", "channel")
    rows = await request.app.state.storage.read(lambda db: list_threats(db, page, channel))
    shown = rows[: page.limit]
    following = cursor_for([str(shown[-1].id)]) if len(rows) > page.limit else None
    return answer(request, shown, meta={"next": following})


def reporter(request: AnyRequest) -> Reporter:
    """Who sent this report."""
    client_id = request.headers.get("x-panguard-client-id")
    return reporter_of(principal_of(request), client_id, _intel(request).pseudonyms)


def _intel(request: AnyRequest) -> Intel:
    intel: Intel = request.app.state.intel
    return intel


threat_handlers = [report_threats, report_trap_events, show_threats]
