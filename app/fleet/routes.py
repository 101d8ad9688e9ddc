"""The fleet over HTTP: agents that speak to a manager, heartbeats of devices, and the view of all agents."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, PathParameter
from litestar.response import Response

from app.access.gatekeeper import Gatekeeper
from app.access.principal import Principal, Role
from app.access.route_guards import public, require
from app.fleet.agents import (
    AgentHeartbeat,
    AgentRegistration,
    DeviceHeartbeat,
    FleetAgent,
    SyncState,
    report_of_device,
    report_of_heartbeat,
    report_of_registration,
)
from app.fleet.service import Fleet
from app.http.envelope import JSON, Answer
from app.http.paging import Page, page_of_rows, paged
from app.http.problem import Problem, not_found
from app.http.requests import TolerantBody
from app.privacy.anonymisation import Pseudonyms

MANAGED = "manager-channel"
"""The label of keys given out here; a host name has no place in the audit log, where nothing can be erased."""
AgentId = Annotated[str, PathParameter(schema_extra={"minLength": 1})]
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
async def register_agent(
    gatekeeper: NamedDependency[Gatekeeper],
    fleet: NamedDependency[Fleet],
    data: TolerantBody[AgentRegistration],
    principal: NamedDependency[Principal],
    now: NamedDependency[datetime],
) -> Response[RegisteredAgent]:
    """Let an agent register with its manager, by the same policy as `/api/clients/register`."""
    record, token = await gatekeeper.register(MANAGED, principal.address, now)
    await fleet.keep_report(record.id, report_of_registration(data), now)
    return Response(
        RegisteredAgent(record.id, token),
        status_code=201,
        media_type=JSON,
        headers={"Cache-Control": "no-store"},
    )


@post("/api/agents/{agent_id:str}/heartbeat", guards=_agents, status_code=200)
async def agent_heartbeat(
    fleet: NamedDependency[Fleet],
    agent_id: AgentId,
    data: TolerantBody[AgentHeartbeat],
    principal: NamedDependency[Principal],
    now: NamedDependency[datetime],
) -> Recorded:
    """Keep how an agent is; stock Guards report it every 30 seconds."""
    require_own_key(principal, agent_id)
    await fleet.keep_report(agent_id, report_of_heartbeat(data), now)
    return Recorded(True)


@post("/api/devices/heartbeat", guards=_agents, status_code=200)
async def device_heartbeat(
    fleet: NamedDependency[Fleet],
    pseudonyms: NamedDependency[Pseudonyms],
    data: TolerantBody[DeviceHeartbeat],
    principal: NamedDependency[Principal],
    now: NamedDependency[datetime],
) -> Recorded:
    """Keep how a host is, as Guards 1.5.5 to 1.6.1 report it; the key says whose host it is."""
    await fleet.keep_report(principal.key_id, report_of_device(data, pseudonyms), now)
    return Recorded(True)


@get("/api/admin/fleet", guards=_admins, dependencies=paged(2))
async def show_fleet(
    fleet: NamedDependency[Fleet],
    page: NamedDependency[Page],
    now: NamedDependency[datetime],
    standing: FromQuery[SyncState | None] = None,
    stale: FromQuery[Stale | None] = None,
) -> Answer[list[FleetAgent]]:
    """List agents with a valid key, the newest key first: `standing=current|behind|never`, `stale=yes|no`.

    `meta.serial` is the publication that is served; the first page also has `meta.totals` of the whole fleet.
    """
    found = await fleet.page(page, standing, stale, now)
    meta: dict[str, Any] = {"serial": found.serial}
    if found.totals is not None:
        meta["totals"] = found.totals
    return page_of_rows(found.agents, page, lambda agent: (agent.issued_at, agent.id), meta=meta)


@get("/api/admin/fleet/{agent_id:str}", guards=_admins)
async def show_agent(
    fleet: NamedDependency[Fleet], agent_id: AgentId, now: NamedDependency[datetime]
) -> FleetAgent:
    """Return one agent, by the id of its key."""
    agent = await fleet.find(agent_id, now)
    if agent is None:
        raise not_found("No agent has a valid key with this id.")
    return agent


def require_own_key(principal: Principal, agent_id: str) -> None:
    """Raise `Problem` 403 unless the request comes with the agent's own key."""
    if principal.key_id != agent_id:
        raise Problem(403, "An agent may speak for itself only: this id belongs to another key.")


fleet_handlers = [register_agent, agent_heartbeat, device_heartbeat, show_fleet, show_agent]
