"""A pull from its start to its end, and that there is only one at a time."""

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from sqlite_utils import Database

from app.federation import store, versions_store
from app.federation.apply import Audit, Landed, fail, land
from app.federation.gather import ask, look_at_all, lost
from app.federation.offer import Fit, Unfit
from app.federation.schedule import next_pull
from app.federation.sources.collected import Collected, Failure, Memory, SourceError
from app.federation.status import Progress, PullFailure, PullOutcome, PullResult
from app.federation.upstream import Upstream
from app.http.problem import Problem
from app.http.timestamps import to_text
from app.sandbox import SandboxError
from app.storage import Storage, StorageUnavailable

log = logging.getLogger(__name__)

Publish = Callable[[str], Awaitable[int | None]]
"""Publishes what is in service, with a reason; returns the new serial, or None when nothing is new.

Raises `Problem` 503 when the publication cannot be kept; it follows by itself then.
"""

Gather = Callable[[Memory, Path], Awaitable[Collected]]
"""Brings an answer, given what is remembered of the upstream and the spool for the texts."""


@dataclass(slots=True)
class Clock:
    """The instant that the caller gave, moved on by the time that has gone by since."""

    given: datetime
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """How long it has been."""
        return round(time.perf_counter() - self.started, 4)

    @property
    def now(self) -> datetime:
        """The present instant."""
        return self.given + timedelta(seconds=time.perf_counter() - self.started)


@dataclass(slots=True, eq=False)
class Pull:
    """The running or last pull of an upstream."""

    progress: Progress
    task: "asyncio.Task[PullResult]"


class Puller:
    """Runs pulls, one at a time; the others wait in the order in which they came.

    A pull changes nothing that is served before its last transaction, and that one all at once. `spool_dir` is
    where the texts of a pull lie while it runs.
    """

    def __init__(self, storage: Storage, spool_dir: Path, publish: Publish) -> None:
        self._storage = storage
        self._spool_dir = spool_dir
        self._publish = publish
        self._turn = asyncio.Lock()
        self._pulls: dict[str, Pull] = {}
        self.outcomes: Counter[tuple[str, PullOutcome]] = Counter()
        """How many pulls of each upstream have ended in which way since the start."""

    def start(self, upstream: Upstream, now: datetime) -> Pull:
        """Start a pull in the background, or join the one of this upstream that waits or runs."""
        found = self._pulls.get(upstream.name)
        if found is None or found.task.done():
            progress = Progress(id=secrets.token_hex(8))
            task = asyncio.create_task(self._run(upstream, progress, Clock(now)))
            found = self._pulls[upstream.name] = Pull(progress, task)
        return found

    def progress(self, name: str) -> Progress | None:
        """The running or last pull of this upstream; None when there was none in this process."""
        found = self._pulls.get(name)
        if found is not None and found.progress.state == "collecting":
            with contextlib.suppress(OSError):
                found.progress.received_bytes = self._spool(name).stat().st_size
        return found.progress if found else None

    async def land(
        self, upstream: Upstream, gather: Gather, now: datetime, audit: Audit | None
    ) -> PullResult:
        """Do with what `gather` brings what a pull does with its own answer; no other pull comes in between."""
        progress = Progress(id=secrets.token_hex(8))
        async with self._turn:
            return await self._pull(upstream, gather, progress, Clock(now), audit)

    async def close(self) -> None:
        """Give up what runs and waits; of what has not landed nothing stays but texts that nobody uses."""
        tasks = [pull.task for pull in self._pulls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def clear(self) -> None:
        """Remove what pulls left behind that were killed."""
        for left in self._spool_dir.glob("*.pull"):
            left.unlink(missing_ok=True)

    async def _run(self, upstream: Upstream, progress: Progress, asked: Clock) -> PullResult:
        async def gather(memory: Memory, spool: Path) -> Collected:
            return await ask(upstream, memory, clock.now, spool)

        async with self._turn:
            clock = Clock(asked.now)  # waiting for the turn is no part of the pull
            try:
                result = await self._pull(upstream, gather, progress, clock, None)
            except Exception:
                log.exception("pull failed: %s", upstream.name)
                failure = Failure("worker", "The pull met a fault of this server; its log says more.")
                result = await self._give_up(upstream, failure, clock, None)
        self.outcomes[upstream.name, result.outcome] += 1
        progress.result = result
        progress.state = "failed" if result.outcome == "failed" else "done"
        return result

    async def _pull(
        self, upstream: Upstream, gather: Gather, progress: Progress, clock: Clock, audit: Audit | None
    ) -> PullResult:
        """Called by whoever has the turn."""
        spool = self._spool(upstream.name)
        try:
            progress.state = "collecting"
            row = await self._storage.read(lambda db: store.load_row(db, upstream.name))
            collected = await gather(row.memory, spool)
            progress.received_bytes = collected.received
            return await self._take_over(upstream, collected, spool, progress, clock, audit)
        finally:
            spool.unlink(missing_ok=True)

    async def _take_over(
        self,
        upstream: Upstream,
        collected: Collected,
        spool: Path,
        progress: Progress,
        clock: Clock,
        audit: Audit | None,
    ) -> PullResult:
        """Everything after the collecting."""
        fit: list[Fit] = []
        unfit: list[Unfit] = []
        if collected.outcome == "changed":
            progress.state = "looking"
            try:
                fit, unfit = await look_at_all(self._storage, upstream, collected, spool, progress)
            except SandboxError as error:
                collected = lost(error)
            except SourceError as error:
                collected = Collected("failed", failure=error.failure)
        if collected.failure is not None:
            return await self._give_up(upstream, collected.failure, clock, audit)
        progress.state = "landing"
        landed = await self._storage.write(
            lambda db: _land(db, upstream, collected, fit, unfit, clock, audit)
        )
        result = landed.result
        if landed.is_news:
            progress.state = "publishing"
            with contextlib.suppress(Problem):
                await self._publish(_reason(upstream, result))
        if collected.outcome == "changed":
            await self._forget(upstream)
        result = msgspec.structs.replace(result, seconds=clock.seconds)
        level = logging.DEBUG if result.outcome == "unchanged" else logging.INFO
        log.log(level, "pulled", extra={"upstream": upstream.name, **msgspec.to_builtins(result)})
        return result

    async def _give_up(
        self, upstream: Upstream, failure: Failure, clock: Clock, audit: Audit | None
    ) -> PullResult:
        try:
            result, is_new = await self._storage.write(lambda db: _fail(db, upstream, failure, clock, audit))
        except StorageUnavailable as error:
            message = f"{failure.message} That could not be recorded: {error}."
            result, is_new = PullResult(outcome="failed", failure=PullFailure(failure.code, message, 1)), True
        # Once for each way of failing, not for each pull: an upstream may be down for a week.
        log.log(
            logging.WARNING if is_new else logging.DEBUG,
            "pull failed",
            extra={"upstream": upstream.name, "code": failure.code, "error": failure.message},
        )
        return msgspec.structs.replace(result, seconds=clock.seconds)

    async def _forget(self, upstream: Upstream) -> None:
        """Drop versions that nobody needs any more, then texts, a few in each transaction."""
        await self._storage.write(lambda db: versions_store.forget(db, upstream.name, versions_store.KEEP))
        unused = await self._storage.read(versions_store.unused_texts)
        for start in range(0, len(unused), versions_store.STEP):
            step = unused[start : start + versions_store.STEP]
            await self._storage.write(lambda db, step=step: versions_store.drop_texts(db, step))  # type: ignore[misc]

    def _spool(self, name: str) -> Path:
        return self._spool_dir / f"{name}.pull"


def _land(
    db: Database,
    upstream: Upstream,
    collected: Collected,
    fit: list[Fit],
    unfit: list[Unfit],
    clock: Clock,
    audit: Audit | None,
) -> Landed:
    landed = land(db, upstream, collected, fit, unfit, clock.now, audit)
    _note_next(db, upstream, clock, 0, None)
    return landed


def _fail(
    db: Database, upstream: Upstream, failure: Failure, clock: Clock, audit: Audit | None
) -> tuple[PullResult, bool]:
    result, is_new = fail(db, upstream, failure, clock.now, audit)
    _note_next(db, upstream, clock, result.failure.failures if result.failure else 1, failure.retry_after)
    return result, is_new


def _note_next(
    db: Database, upstream: Upstream, clock: Clock, failures: int, retry_after: float | None
) -> None:
    # The jitter keeps no secret.
    at = next_pull(clock.now, upstream.every, failures, retry_after, random.random())  # noqa: S311
    store.note_schedule(db, upstream.name, to_text(at), clock.seconds)


def _reason(upstream: Upstream, result: PullResult) -> str:
    numbers = f"{result.added} added, {result.changed} changed, {result.withdrawn} withdrawn"
    return f"pull of {upstream.name}: {numbers}"
