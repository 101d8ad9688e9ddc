"""A fleet's keys and lists: made by the product's own code in this process, before the server starts.

Over HTTP 100,000 keys would take minutes and be refused by the admin's rate limit. What is made is the same: one row,
one audit entry and one signed token each, through `Gatekeeper.issue`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from litestar.datastructures import State

from app.access.gatekeeper import Gatekeeper
from app.access.principal import Actor, Role
from app.config import load_config
from app.intel.indicators.model import IndicatorKind
from app.intel.indicators.service import Indicators
from app.intel.skills.service import Skills
from app.web.application import create_application
from app.web.lifespan import opened
from tests.server import Server

T = TypeVar("T")
AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Enrolled:
    """One key: its id, and its token as the `Authorization` header has it."""

    key_id: str
    token: bytes


def enrol(server: Server, role: str, count: int) -> list[Enrolled]:
    """Issue keys to `count` subjects of one role; the server must not run."""

    async def issue(state: State) -> list[Enrolled]:
        found: list[Enrolled] = []
        for start in range(0, count, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, count))
            found += await asyncio.gather(*(_issue(state.gatekeeper, Role(role), n) for n in numbers))
        return found

    return _inside(server, issue)


def fill_lists(server: Server) -> None:
    """Put 2,000 addresses, 1,000 domains, 300 risky and 700 good skills on the lists; the server must not run."""
    actor = Actor("bench", None, datetime.now(UTC))

    async def fill(state: State) -> None:
        skills: Skills = state.skills
        indicators: Indicators = state.indicators
        named: list[tuple[IndicatorKind, str]] = [("ip", f"45.{n >> 8}.{n & 255}.9") for n in range(2000)]
        named += [("domain", f"host-{n}.bad-{n % 50}.com") for n in range(1000)]
        entries = (
            indicators.put(kind, value, reputation=90, category="c2", reason=None, actor=actor)
            for kind, value in named
        )
        await asyncio.gather(*entries)
        await skills.put("black", [(f"blocked-{n}", None) for n in range(300)], actor, "bench")
        await skills.put("white", [(f"trusted-{n}", f"{n:064x}") for n in range(700)], actor, None)

    _inside(server, fill)


def _inside(server: Server, act: Callable[[State], Coroutine[Any, Any, T]]) -> T:
    """Run `act` with the instance's services, as its command line does when no server runs."""
    config = load_config(Path(server.config), server.environ)
    application = create_application(config, serving=False).litestar

    async def run() -> T:
        async with opened(application, config, serving=False):
            return await act(application.state)

    return asyncio.run(run())


async def _issue(gatekeeper: Gatekeeper, role: Role, number: int) -> Enrolled:
    record, token = await gatekeeper.issue(
        role=role,
        subject=f"{role.value}-{number:06}",
        expires=None,
        site=None,
        actor="bench",
        now=datetime.now(UTC),
    )
    return Enrolled(record.id, token.encode())
