"""The fleet over HTTP: agents that speak to a manager, heartbeats of devices, and the view of all agents."""

from typing import Any, Literal

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response

from app.access.guards import instant_of, principal_of, public, require
from app.access.roles import Role
from app.fleet.agents import SyncState
from app.fleet.manager import (
    AgentHeartbeat,
    AgentRegistration,
    DeviceHeartbeat,
    report_of_device,
    report_of_heartbeat,
    report_of_registration,
)
from app.fleet.service import Fleet
from app.http.envelope import JSON, AnyRequest, answer
from app.http.paging import cursor_for, page_of
from app.http.problem import Problem, bad_request, not_found
from app.http.tolerant import read_one

MANAGED = "manager-channel"
"""The label of keys given out here; a host name has no place in the audit log, where nothing can be erased."""
SYNC_STATES: tuple[SyncState, ...] = ("current", "behind", "never")
Stale = Literal["yes", "no"]
_agents = [require(Role.AGENT)]
_admins = [require(Role.ADMIN)]


class RegisteredAgent(msgspec.Struct, frozen=True, rename="camel"):
    """What a Guard reads of its registration with a manager, without an envelope; `token` is shown only here."""

    agent_id: str
    token: str


class Recorded(msgspec.Struct, frozen=True):
    """The answer to a report; `recorded` is false when it was counted before."""

    recorded: bool


@post("/api/agents/register", guards=[public()])
async def register_agent(request: AnyRequest) -> Response[bytes]:
    """Let an agent register with its manager, by the same policy as `/api/clients/register`."""
    body = await read_one(request, AgentRegistration)
    now = instant_of(request)
    record, token = await request.app.state.gatekeeper.register(MANAGED, principal_of(request).address, now)
    await _fleet(request).keep_report(record.id, report_of_registration(body), now)
    return Response(
        msgspec.json.encode(RegisteredAgent(record.id, token)),
        status_code=201,
        media_type=JSON,
        headers={"Cache-Control": "no-store"},
    )


@post("/api/agents/{agent_id:str}/heartbeat", guards=_agents, status_code=200)
async def agent_heartbeat(request: AnyRequest, agent_id: FromPath[str]) -> Response[bytes]:
    """Keep how an agent is; stock Guards report it every 30 seconds."""
    body = await read_one(request, AgentHeartbeat)
    require_own_key(request, agent_id)
    await _fleet(request).keep_report(agent_id, report_of_heartbeat(body), instant_of(request))
    return answer(request, Recorded(True))


@post("/api/devices/heartbeat", guards=_agents, status_code=200)
async def device_heartbeat(request: AnyRequest) -> Response[bytes]:
    """Keep how a host is, as Guards 1.5.5 to 1.6.1 report it; the key says whose host it is."""
    body = await read_one(request, DeviceHeartbeat)
    report = report_of_device(body, request.app.state.pseudonyms)
    await _fleet(request).keep_report(principal_of(request).key_id, report, instant_of(request))
    return answer(request, Recorded(True))


@get("/api/admin/fleet", guards=_admins)
async def show_fleet(request: AnyRequest) -> Response[bytes]:
    """List agents with a valid key, the newest key first: `standing=current|behind|never`, `stale=yes|no`.

    `meta.serial` is the publication that is served; the first page also has `meta.totals` of the whole fleet.
    """
    query = request.query_params
    page = page_of(query)
    sync_state = _choice(query.get("standing"), "standing", SYNC_STATES)
    stale = _choice(query.get("stale"), "stale", ("yes", "no"))
    found = await _fleet(request).page(page, sync_state, stale, instant_of(request))
    shown = found.agents[: page.limit]
    more = len(found.agents) > page.limit
    meta: dict[str, Any] = {
        "next": cursor_for([shown[-1].issued_at, shown[-1].id]) if more else None,
        "serial": found.serial,
    }
    if found.totals is not None:
        meta["totals"] = found.totals
    return answer(request, shown, meta=meta)


@get("/api/admin/fleet/{agent_id:str}", guards=_admins)
async def show_agent(request: AnyRequest, agent_id: FromPath[str]) -> Response[bytes]:
    """Return one agent, by the id of its key."""
    agent = await _fleet(request).find(agent_id, instant_of(request))
    if agent is None:
        raise not_found("No agent has a valid key with this id.")
    return answer(request, agent)


def require_own_key(request: AnyRequest, agent_id: str) -> None:
    """Raise `Problem` 403 unless the request comes with the agent's own key."""
    if principal_of(request).key_id != agent_id:
        raise Problem(403, "An agent may speak for itself only: this id belongs to another key.")


def _fleet(request: AnyRequest) -> Fleet:
    fleet: Fleet = request.app.state.fleet
    return fleet


def _choice(text: str | None, name: str, allowed: tuple[Any, ...]) -> Any:
    if text is not None and text not in allowed:
        raise bad_request(f"{name}: one of {', '.join(allowed)}", name)
    return text


fleet_handlers = [register_agent, agent_heartbeat, device_heartbeat, show_fleet, show_agent]
