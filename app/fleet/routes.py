"""The fleet over HTTP: agents that speak to a manager, heartbeats of devices, and the view of it all."""

import contextlib
from typing import Any, Literal

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response
from sqlite_utils import Database

from app.access.guards import instant_of, principal_of, public, require
from app.access.principal import Role
from app.fleet.agents import FleetAgent, SelfReport, Standing, stale_limit
from app.fleet.manager import (
    AgentEvent,
    AgentHeartbeat,
    AgentRegistration,
    DeviceHeartbeat,
    of_device,
    of_heartbeat,
    of_registration,
    threat_of,
)
from app.fleet.store import find_agent, keep_report, list_fleet, totals, write_sightings
from app.http.envelope import JSON, AnyRequest, answer
from app.http.paging import page_of
from app.http.problem import Problem, bad_request, not_found
from app.http.timestamps import to_text
from app.http.tolerant import read_one
from app.intel.reports.routes import reporter
from app.intel.reports.threats import Cleaner
from app.intel.service import Received
from app.storage import StorageUnavailable

MANAGED = "manager-channel"
"""The label of keys given out here; a host name has no place in the audit log, where nothing can be erased."""
STANDINGS: tuple[Standing, ...] = ("current", "behind", "never")
Stale = Literal["yes", "no"]
_agents = [require(Role.AGENT)]
_admins = [require(Role.ADMIN)]


class RegisteredAgent(msgspec.Struct, frozen=True, rename="camel"):
    """What a Guard reads of its registration with a manager, without an envelope; `token` is shown only here."""

    agent_id: str
    token: str


class Recorded(msgspec.Struct, frozen=True):
    """A report was taken."""

    recorded: bool


@post("/api/agents/register", guards=[public()])
async def register_agent(request: AnyRequest) -> Response[bytes]:
    """Let an agent register with its manager, by the same policy as `/api/clients/register`."""
    body = await read_one(request, AgentRegistration)
    record, token = await request.app.state.gatekeeper.register(
        MANAGED, principal_of(request).address, instant_of(request)
    )
    await _keep(request, record.id, of_registration(body))
    return Response(
        msgspec.json.encode(RegisteredAgent(record.id, token)),
        status_code=201,
        media_type=JSON,
        headers={"Cache-Control": "no-store"},
    )


@post("/api/agents/{agent_id:str}/heartbeat", guards=_agents, status_code=200)
async def agent_heartbeat(request: AnyRequest, agent_id: FromPath[str]) -> Response[bytes]:
    """How an agent is; stock Guards say so every 30 seconds."""
    body = await read_one(request, AgentHeartbeat)
    _only_its_own(request, agent_id)
    await _keep(request, agent_id, of_heartbeat(body))
    return answer(request, Recorded(True))


@post("/api/agents/{agent_id:str}/events", guards=_agents, status_code=201)
async def agent_event(request: AnyRequest, agent_id: FromPath[str]) -> Response[bytes]:
    """An event that an agent saw. It comes raw; what a threat report has is kept of it, masked, and nothing else."""
    body = await read_one(request, AgentEvent)
    _only_its_own(request, agent_id)
    intel, now = request.app.state.intel, instant_of(request)
    threats = [] if body.is_benign else [threat_of(body, Cleaner(intel.pseudonyms, now))]
    await intel.keep_threats("manager", Received(threats, clean=int(body.is_benign)), reporter(request), now)
    return answer(request, Recorded(True), status=201)


@post("/api/devices/heartbeat", guards=_agents, status_code=200)
async def device_heartbeat(request: AnyRequest) -> Response[bytes]:
    """How a host is, as Guards 1.5.5 to 1.6.1 say it; whose host it is, the key says."""
    body = await read_one(request, DeviceHeartbeat)
    await _keep(request, principal_of(request).key_id, of_device(body, request.app.state.intel.pseudonyms))
    return answer(request, Recorded(True))


@get("/api/admin/fleet", guards=_admins)
async def show_fleet(request: AnyRequest) -> Response[bytes]:
    """Enrolled agents with a valid key, the newest key first: `standing=current|behind|never`, `stale=yes|no`.

    `meta.serial` is the publication that is served; the first page also has `meta.totals` of the whole fleet.
    """
    query = request.query_params
    page = page_of(query)
    standing = _choice(query.get("standing"), "standing", STANDINGS)
    stale = _choice(query.get("stale"), "stale", ("yes", "no"))
    terms = await _terms(request)

    def read(db: Database) -> tuple[list[FleetAgent], str | None, dict[str, Any]]:
        agents, following = list_fleet(db, page, standing=standing, stale=stale, **terms)
        whole = {} if page.after else {"totals": msgspec.to_builtins(totals(db, **terms))}
        return agents, following, whole

    agents, following, whole = await request.app.state.storage.read(read)
    return answer(request, agents, meta={"next": following, "serial": terms["newest"], **whole})


@get("/api/admin/fleet/{agent_id:str}", guards=_admins)
async def show_agent(request: AnyRequest, agent_id: FromPath[str]) -> Response[bytes]:
    """One agent, by the id of its key."""
    terms = await _terms(request)
    agent = await request.app.state.storage.read(lambda db: find_agent(db, agent_id, **terms))
    if agent is None:
        raise not_found("No agent has a valid key with this id.")
    return answer(request, agent)


async def _terms(request: AnyRequest) -> dict[str, Any]:
    """What the fleet is held against; what was seen until now is written first, unless the disk is full."""
    state, now = request.app.state, instant_of(request)
    with contextlib.suppress(StorageUnavailable):
        await write_sightings(state.storage, state.gatekeeper.activity)
    served = state.publisher.served
    return {
        "newest": served.serial if served is not None else 0,
        "now": to_text(now),
        "limit": stale_limit(now, state.config.fleet),
    }


async def _keep(request: AnyRequest, key_id: str, report: SelfReport) -> None:
    at = to_text(instant_of(request))
    await request.app.state.storage.write(lambda db: keep_report(db, key_id, report, at))


def _only_its_own(request: AnyRequest, agent_id: str) -> None:
    if principal_of(request).key_id != agent_id:
        raise Problem(403, "An agent may speak for itself only: this id belongs to another key.")


def _choice(text: str | None, name: str, allowed: tuple[Any, ...]) -> Any:
    if text is not None and text not in allowed:
        raise bad_request(f"{name}: one of {', '.join(allowed)}", name)
    return text


fleet_handlers = [
    register_agent,
    agent_heartbeat,
    agent_event,
    device_heartbeat,
    show_fleet,
    show_agent,
]
