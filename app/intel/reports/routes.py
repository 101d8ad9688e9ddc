"""Threat events over HTTP: what Guards, the ATR reporter, traps and managed agents send."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, SkipValidationMarker

from app.access.principal import Principal, Role
from app.access.route_guards import require, require_reporter
from app.fleet.routes import AgentId, Recorded, require_own_key
from app.http.envelope import Answer
from app.http.paging import Page, page_of_rows, paged
from app.http.problem import bad_request
from app.http.requests import Batch, TolerantBody, TolerantKwarg
from app.intel.reporter import Reporter
from app.intel.reports.events import AgentEvent, Channel, Cleaner, GuardEvent, TrapEvent, threat_of
from app.intel.reports.service import ReceivedEvents, Reports
from app.intel.reports.store import StoredThreat
from app.privacy.anonymisation import Pseudonyms

_reporters = [require_reporter(Role.AGENT, Role.ADMIN)]
EventBatch = Annotated[Batch[GuardEvent], TolerantKwarg(member="events"), SkipValidationMarker()]
TrapBatch = Annotated[
    Batch[TrapEvent], TolerantKwarg(member="events", described=list[TrapEvent]), SkipValidationMarker()
]


class ThreatReceipt(msgspec.Struct, frozen=True):
    """How many events were kept and skipped; `clean`: scans without a finding, `sealed`: counted, never opened."""

    message: str
    count: int
    clean: int
    sealed: int
    skipped: int


class TrapReceipt(msgspec.Struct, frozen=True):
    """How many events of a trap were kept, and how many could not be understood."""

    message: str
    count: int
    skipped: int


@post("/api/threats", guards=_reporters)
async def report_threats(
    reports: NamedDependency[Reports],
    pseudonyms: NamedDependency[Pseudonyms],
    data: EventBatch,
    reporter: NamedDependency[Reporter],
    now: NamedDependency[datetime],
) -> ThreatReceipt:
    """Take events of a Guard or the ATR reporter: `{events: [...]}`, one event, or either sealed.

    `clean` are scans that found nothing, which are counted apart; `sealed` is counted and never decrypted.
    """
    cleaner = Cleaner(pseudonyms, now)
    sealed = [event.sealed for event in data.items if event.sealed is not None]
    plain = [event for event in data.items if event.sealed is None]
    clean = sum(event.is_clean for event in plain)
    threats = [cleaner.event(event) for event in plain if event.attack_type and not event.is_clean]
    skipped = data.skipped + len(plain) - clean - len(threats)
    if skipped and not (threats or clean or sealed):
        raise bad_request("attackType: a text is needed in each event", "attackType")
    await reports.keep("threats", ReceivedEvents(threats, clean, sealed), reporter, now)
    return ThreatReceipt("Threat data received", len(threats), clean, len(sealed), skipped)


@post("/api/trap-intel", guards=_reporters)
async def report_trap_events(
    reports: NamedDependency[Reports],
    pseudonyms: NamedDependency[Pseudonyms],
    data: TrapBatch,
    reporter: NamedDependency[Reporter],
    now: NamedDependency[datetime],
) -> TrapReceipt:
    """Take events of a trap: a bare list, as the stock trap sends it."""
    cleaner = Cleaner(pseudonyms, now)
    threats = [cleaner.trap(event) for event in data.items]
    await reports.keep("trap", ReceivedEvents(threats), reporter, now)
    return TrapReceipt("Trap data received", len(threats), data.skipped)


@post("/api/agents/{agent_id:str}/events", guards=[require(Role.AGENT)])
async def agent_event(
    reports: NamedDependency[Reports],
    pseudonyms: NamedDependency[Pseudonyms],
    agent_id: AgentId,
    data: TolerantBody[AgentEvent],
    principal: NamedDependency[Principal],
    reporter: NamedDependency[Reporter],
    now: NamedDependency[datetime],
) -> Recorded:
    """Take an event that an agent saw. It comes raw; only what a threat report has is kept of it, masked."""
    require_own_key(principal, agent_id)
    threats = [] if data.is_benign else [threat_of(data, Cleaner(pseudonyms, now))]
    await reports.keep("manager", ReceivedEvents(threats, clean=int(data.is_benign)), reporter, now)
    return Recorded(True)


@get("/api/threats", guards=[require(Role.ADMIN)], dependencies=paged(1))
async def show_threats(
    reports: NamedDependency[Reports],
    page: NamedDependency[Page],
    channel: FromQuery[Channel | None] = None,
) -> Answer[list[StoredThreat]]:
    """List kept events, newest first: masked, on the hour, and whose they are; `channel=` selects how they came."""
    rows = await reports.list_threats(page, channel)
    return page_of_rows(rows, page, lambda threat: [str(threat.id)])


report_handlers = [report_threats, report_trap_events, agent_event, show_threats]
