"""What the scheduler runs, and when."""

import logging
from datetime import UTC, datetime
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MISSED
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from app.access.poll_counter import PollCounter, append_polls
from app.config import Config
from app.consensus.service import Consensus
from app.federation.service import Federation
from app.fleet.service import Fleet
from app.intel.indicators.service import Indicators
from app.intel.recount import recount
from app.intel.skills.recount import VoteCounter
from app.intel.skills.service import Skills
from app.overlay.service import Overlays
from app.privacy.retention import Retention
from app.publication.publisher import Publisher
from app.storage import Storage

log = logging.getLogger(__name__)

MOST_TICK = 10
"""Seconds between two looks at whether an upstream is due, at most; each is one read of one row."""


class Jobs:
    """The scheduled work of the one process that holds the lock.

    A job that is late runs once, however many runs it missed; it never runs twice at a time.
    """

    def __init__(
        self,
        storage: Storage,
        consensus: Consensus,
        federation: Federation,
        overlays: Overlays,
        publisher: Publisher,
        pull_counter: PollCounter,
        fleet: Fleet,
        skills: Skills,
        indicators: Indicators,
        votes: VoteCounter,
        retention: Retention,
        config: Config,
    ) -> None:
        self._storage = storage
        self._consensus = consensus
        self._federation = federation
        self._overlays = overlays
        self._publisher = publisher
        self._pulls = pull_counter
        self._fleet = fleet
        self._skills = skills
        self._indicators = indicators
        self._votes = votes
        self._retention = retention
        self._config = config
        self._scheduler: Any = AsyncIOScheduler(timezone=UTC)

    def start(self) -> None:
        """Schedule everything but pulls; call inside the running event loop."""
        cycle = self._config.consensus.cycle_seconds
        self._add(self.promote_confirmed_proposals, seconds=cycle)
        self._add(self.recompute_overlay, seconds=60)
        self._add(self.write_pull_counts, seconds=300)
        self._add(self.write_key_activity, seconds=10)
        self._add(self.recount_lists, seconds=60)
        self._add(self.purge_old_data, seconds=3600)
        self._scheduler.add_listener(_report, EVENT_JOB_ERROR | EVENT_JOB_MISSED)
        self._scheduler.start()

    async def stop(self) -> None:
        """Stop scheduling and write what is only counted in memory."""
        self._scheduler.shutdown(wait=False)
        await self.write_pull_counts(everything=True)
        await self.write_key_activity()
        await self._recount_due(datetime.now(UTC))

    def watch_upstreams(self) -> None:
        """From now on, start the pull of each upstream when its time has come; a failure stops no later one."""
        for upstream in self._federation.pulled():
            self._scheduler.add_job(
                self.start_pull_if_due,
                "interval",
                seconds=max(1, min(MOST_TICK, upstream.every // 10)),
                args=[upstream.name],
                id=f"pull {upstream.name}",
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
            )

    async def start_pull_if_due(self, name: str) -> None:
        """Start a pull whose time has come, unless a rollback holds pulls.

        The time is in the database, so that it holds across restarts and a pull by hand moves it on.
        """
        await self._federation.start_if_due(name, datetime.now(UTC))

    async def promote_confirmed_proposals(self) -> None:
        """Promote what enough independent scanners confirmed; publishes when that changed the set.

        Also publishes what an earlier change could not, for instance on a full disk.
        """
        await self._consensus.run_cycle(datetime.now(UTC))
        await self._publisher.publish("unpublished changes", datetime.now(UTC))

    async def recompute_overlay(self) -> None:
        """Let overlay entries end whose time is over; publishes when that changed the set."""
        await self._overlays.recompute(datetime.now(UTC))

    async def write_pull_counts(self, *, everything: bool = False) -> None:
        """Write the finished hours' 304s to the audit log, one row per key and hour."""
        now = datetime.now(UTC)
        counts = self._pulls.flush(now, force=everything)
        if counts:
            await self._storage.write(lambda db: append_polls(db, counts, now))

    async def write_key_activity(self) -> None:
        """Write when each key was last used, and what it was served."""
        await self._fleet.write_activity()

    async def recount_lists(self) -> None:
        """Count what is due, and drop the votes of revoked keys from the skill lists and feeds."""
        now = datetime.now(UTC)
        await self._recount_due(now)
        if await recount(self._storage, self._votes, self._config.consensus, now):
            self._skills.known.invalidate()
            self._indicators.listed.invalidate()

    async def purge_old_data(self) -> None:
        """Delete what is older than `[retention]` says."""
        gone = await self._retention.purge(datetime.now(UTC))
        if gone:
            log.info("old data deleted", extra={"rows": gone})

    async def _recount_due(self, now: datetime) -> None:
        await self._skills.recount_due(now)
        await self._indicators.recount_due(now)

    def _add(self, job: Any, *, seconds: int) -> None:
        self._scheduler.add_job(
            job,
            "interval",
            seconds=seconds,
            jitter=min(5, seconds // 10) or None,
            id=job.__name__,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=seconds,
        )


def _report(event: Any) -> None:
    if event.exception:
        log.error("job %s failed", event.job_id, exc_info=event.exception)
    else:
        log.warning("job %s missed its time", event.job_id)
