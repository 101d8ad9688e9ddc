"""`Fleet`: keeps what agents report of their hosts and when their keys were used, and shows the fleet to an admin."""

import contextlib
from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Literal

import msgspec
from sqlite_utils import Database

from app.access.key_activity import KeyActivity
from app.fleet.agents import FleetAgent, FleetPolicy, FleetTotals, SelfReport, SyncState, stale_limit
from app.fleet.store import find_agent, fleet_totals, keep_activity, keep_report, list_agents
from app.http.paging import Page
from app.http.timestamps import to_text
from app.storage import Storage, StorageUnavailable

BATCH = 500
"""Key records written in one transaction: a fleet of 100,000 must not keep other writes waiting."""


class FleetPage(msgspec.Struct, frozen=True):
    """Agents of one page and up to one more, the serial that is served, and on the first page the totals."""

    agents: list[FleetAgent]
    serial: int
    totals: FleetTotals | None


class Fleet:
    """The enrolled agents. `served_serial` returns the serial of the publication that is served, 0 for none."""

    def __init__(
        self,
        storage: Storage,
        activity: KeyActivity,
        policy: FleetPolicy,
        served_serial: Callable[[], int],
    ) -> None:
        self._storage = storage
        self._activity = activity
        self._policy = policy
        self._served_serial = served_serial

    async def keep_report(self, key_id: str, report: SelfReport, now: datetime) -> None:
        """Keep what the agent with this key reports of its host."""
        at = to_text(now)
        await self._storage.write(lambda db: keep_report(db, key_id, report, at))

    async def write_activity(self) -> None:
        """Write which keys were used since the last call, in the order of the table: neighbours share pages."""
        found = sorted(self._activity.flush(), key=attrgetter("key_id"))
        for start in range(0, len(found), BATCH):
            batch = found[start : start + BATCH]
            await self._storage.write(lambda db, batch=batch: keep_activity(db, batch))  # type: ignore[misc]

    async def page(
        self, page: Page, sync_state: SyncState | None, stale: Literal["yes", "no"] | None, now: datetime
    ) -> FleetPage:
        """Return one page of agents with a valid key, the newest key first."""
        await self._write_activity_if_possible()
        serial, at, limit = self._served_serial(), to_text(now), stale_limit(now, self._policy)

        def read(db: Database) -> FleetPage:
            agents = list_agents(
                db, page, newest=serial, now=at, limit=limit, sync_state=sync_state, stale=stale
            )
            totals = None if page.after else fleet_totals(db, newest=serial, now=at, limit=limit)
            return FleetPage(agents, serial, totals)

        return await self._storage.read(read)

    async def find(self, agent_id: str, now: datetime) -> FleetAgent | None:
        """Return the agent with this valid key, or None."""
        await self._write_activity_if_possible()
        serial, at, limit = self._served_serial(), to_text(now), stale_limit(now, self._policy)
        return await self._storage.read(
            lambda db: find_agent(db, agent_id, newest=serial, now=at, limit=limit)
        )

    async def _write_activity_if_possible(self) -> None:
        """Write what was seen until now, so that it is shown; with a full disk, what is in the database is shown."""
        with contextlib.suppress(StorageUnavailable):
            await self.write_activity()
