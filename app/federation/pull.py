"""The pull of an upstream, from the question to the publication.

1.  Ask. `sources.registry.collect` reads the upstream in a sandbox, with what was remembered from the last success
    (`Memory`: ETag, serial, ...). It writes rule texts to a spool file and returns `Collected`: `changed` with
    everything that is offered, `unchanged`, or `failed`. An imported bundle replaces this step alone (`take_over`).
2.  Inspect texts that are not known yet, in batches, in a second sandbox. Texts that are rules are stored under their
    digest, each batch in a transaction of its own: a stored text that no rule refers to does no harm.
3.  Resolve the offer (`offer.resolve_offer`): one text an id; everything else is set aside with its reason, and the
    last good text of its rule stays.
4.  Decide (`decide.decide`): which changes are applied. The policy `review` holds every change for an admin; a guard
    holds the whole pull when it would empty, shrink or churn what is served.
5.  Apply (`apply.apply_answer`): steps 3 to 5 and everything that is recorded of them are one transaction.
6.  Publish, if what is served may have changed. A publication that cannot be kept is repeated by the publisher.
7.  Drop versions and texts that nothing refers to any more.

An upstream that cannot be read, tells nonsense or kills its sandbox is a result with outcome `failed` and a code, not
an exception: what is served stays, the status says why, and the next pull comes later (`schedule.next_pull`). Nothing
is served before step 5 commits. After a crash before that, a restart finds the rules as they were, a spool file that
`PullQueue.clear` removes, and perhaps stored texts that the next pull drops; after a crash behind it, the start
publishes what is in service.

With a state folder `folder` and a rule file in `folder / "rules"`:

>>> async def publish(reason):
...     print(reason)
>>> async def pull_twice():
...     storage = Storage(folder)
...     upstream = DirectoryUpstream(name="atr", path=str(folder / "rules"))
...     await storage.write(lambda db: store.sync_rows(db, [upstream]))
...     pulls = PullQueue(storage, folder / "spool", publish)
...     for _ in range(2):
...         result = await pulls.start(upstream, datetime.now().astimezone()).task
...         print(result.outcome, result.added, result.held)
...     await storage.close()
>>> asyncio.run(pull_twice())
pull of atr: 1 added, 0 changed, 0 withdrawn
changed 1 0
unchanged 0 0
"""

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
from app.federation.apply import ApplyResult, WriteAudit, apply_answer, record_failure
from app.federation.offer import AcceptedItem, RejectedItem
from app.federation.schedule import next_pull
from app.federation.sources.bundle import is_reference, known_references, set_aside_again
from app.federation.sources.collected import Collected, Failure, Item, Memory, SetAside, SourceError
from app.federation.sources.inspection import InspectedText, inspect_items
from app.federation.sources.registry import collect
from app.federation.status import PullFailure, PullOutcome, PullProgress, PullResult
from app.federation.upstream import DirectoryUpstream, HttpUpstream, NpmUpstream, Upstream
from app.http.problem import Problem
from app.http.timestamps import to_text
from app.rules.store import put_text
from app.rules.validate import Profile
from app.sandbox import Sandbox, SandboxError
from app.storage import Storage, StorageUnavailable

log = logging.getLogger(__name__)

SLACK_SECONDS = 30.0
"""What a source may take beyond the upstream's timeout before its process is killed."""
LOCAL_SECONDS = 120.0
"""Deadline of sources without a network; the 833 rules of pyatr take about two seconds."""
INSPECT_SECONDS = 30.0
"""Deadline of a batch; 40 published rules take 40 ms (measured)."""
BATCH = 40

Publish = Callable[[str], Awaitable[int | None]]
"""Publishes what is in service, with a reason; returns the new serial, or None when nothing is new.

Raises `Problem` 503 when the publication cannot be kept; it follows by itself then.
"""

Collect = Callable[[Memory, Path], Awaitable[Collected]]
"""Brings an answer, given what is remembered of the upstream and the spool for the texts."""


@dataclass(slots=True)
class PullClock:
    """The instant that the caller gave, moved on by the time that has gone by since."""

    given: datetime
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return round(time.perf_counter() - self.started, 4)

    @property
    def now(self) -> datetime:
        """The present instant."""
        return self.given + timedelta(seconds=time.perf_counter() - self.started)


@dataclass(slots=True, eq=False)
class Pull:
    """One pull of one upstream; `run` does every step, in order. Only one runs at a time (`PullQueue`)."""

    storage: Storage
    upstream: Upstream
    spool: Path
    publish: Publish
    progress: PullProgress
    clock: PullClock
    write_audit: WriteAudit | None = None

    async def run(self, collect_answer: Collect | None = None) -> PullResult:
        """Pull and return what that did; `collect_answer` replaces asking the upstream.

        Raises `StorageUnavailable` when the database cannot be read or written.
        """
        accepted: list[AcceptedItem] = []
        rejected: list[RejectedItem] = []
        try:
            self.progress.state = "collecting"
            collected = await self._ask(collect_answer or self._collect)
            if collected.outcome == "changed":
                self.progress.state = "looking"
                accepted, rejected = await self._inspect(collected)
        except SourceError as error:
            return await self.give_up(error.failure)
        except SandboxError as error:
            return await self.give_up(sandbox_failure(error))
        else:
            self.progress.state = "landing"
            applied = await self.storage.write(lambda db: self._apply(db, collected, accepted, rejected))
            if applied.may_change_set:
                self.progress.state = "publishing"
                with contextlib.suppress(Problem):
                    await self.publish(_reason(self.upstream, applied.result))
            if collected.outcome == "changed":
                await self._drop_unused()
            return self._log(applied.result)
        finally:
            self.spool.unlink(missing_ok=True)

    async def give_up(self, failure: Failure) -> PullResult:
        """Record that this pull brought nothing, and return that as its result."""
        try:
            result, is_new = await self.storage.write(lambda db: self._record_failure(db, failure))
        except StorageUnavailable as error:
            message = f"{failure.message} That could not be recorded: {error}."
            result, is_new = PullResult(outcome="failed", failure=PullFailure(failure.code, message, 1)), True
        # Once for each way of failing, not for each pull: an upstream may be down for a week.
        log.log(
            logging.WARNING if is_new else logging.DEBUG,
            "pull failed",
            extra={"upstream": self.upstream.name, "code": failure.code, "error": failure.message},
        )
        return msgspec.structs.replace(result, seconds=self.clock.seconds)

    async def _ask(self, collect_answer: Collect) -> Collected:
        """Return an answer that is no failure; raise `SourceError` or `SandboxError` for one that is."""
        row = await self.storage.read(lambda db: store.load_row(db, self.upstream.name))
        collected = await collect_answer(row.memory, self.spool)
        self.progress.received_bytes = collected.received
        if collected.failure is not None:
            raise SourceError.of(collected.failure)
        return collected

    async def _collect(self, memory: Memory, spool: Path) -> Collected:
        """Read the upstream in a process of its own, so that the memory of a large answer is given back at once."""
        upstream = self.upstream
        sandbox = Sandbox(
            upstream.timeout + SLACK_SECONDS if isinstance(upstream, HttpUpstream) else LOCAL_SECONDS
        )
        try:
            return await sandbox.call(collect, upstream, memory, to_text(self.clock.now), str(spool))
        finally:
            await sandbox.close()

    async def _inspect(self, collected: Collected) -> tuple[list[AcceptedItem], list[RejectedItem]]:
        """Return which of the collected items are rules, by the id in each, and which are not.

        Texts that the upstream offered last are known; all others are inspected and, if they are rules, stored.
        Raises `SandboxError`, `StorageUnavailable`, and `SourceError` (gap) for a reference to a missing text.
        """
        known, aside = await self.storage.read(lambda db: self._known(db, collected))
        accepted = [
            AcceptedItem(known[item.digest], item) for item in collected.items if item.digest in known
        ]
        missing = [item for item in collected.items if item.digest not in known]
        rejected = set_aside_again([item for item in missing if is_reference(item)], aside)
        unknown = [item for item in missing if not is_reference(item)]
        self.progress.texts = len(unknown)
        if not unknown:
            return accepted, rejected
        # Authors' own files must be complete; a server passes on stripped rules too, as the pyatr package has them.
        authors_own = isinstance(self.upstream, (NpmUpstream, DirectoryUpstream))
        profile = Profile.PUBLISHED if authors_own else Profile.BUNDLED
        sandbox = Sandbox(INSPECT_SECONDS)
        try:
            for start in range(0, len(unknown), BATCH):
                batch = unknown[start : start + BATCH]
                spans = [(item.start, item.size) for item in batch]
                inspected = await sandbox.call(inspect_items, str(self.spool), spans, profile.value)
                await self.storage.write(lambda db, inspected=inspected: _store_texts(db, inspected))  # type: ignore[misc]
                _sort(batch, inspected, accepted, rejected)
                self.progress.looked += len(batch)
        finally:
            await sandbox.close()
        return accepted, rejected

    def _known(self, db: Database, collected: Collected) -> tuple[dict[str, str], list[SetAside]]:
        """Return `digest -> rule id` of what was offered last or is referred to, and what was set aside last."""
        offered = versions_store.rules_of(db, store.adopted_version(db, self.upstream.name))
        known = {text.digest: rule_id for rule_id, text in offered.items()}
        return known | known_references(db, collected.items), store.set_aside_of(db, self.upstream.name)

    def _apply(
        self, db: Database, collected: Collected, accepted: list[AcceptedItem], rejected: list[RejectedItem]
    ) -> ApplyResult:
        applied = apply_answer(
            db, self.upstream, collected, accepted, rejected, self.clock.now, self.write_audit
        )
        self._schedule_next(db, 0, None)
        return applied

    def _record_failure(self, db: Database, failure: Failure) -> tuple[PullResult, bool]:
        result, is_new = record_failure(db, self.upstream, failure, self.clock.now, self.write_audit)
        self._schedule_next(db, result.failure.failures if result.failure else 1, failure.retry_after)
        return result, is_new

    def _schedule_next(self, db: Database, failures: int, retry_after: float | None) -> None:
        chance = random.random()  # noqa: S311 (the jitter keeps no secret)
        at = next_pull(self.clock.now, self.upstream.every, failures, retry_after, chance)
        store.record_schedule(db, self.upstream.name, to_text(at), self.clock.seconds)

    async def _drop_unused(self) -> None:
        """Drop versions that nothing needs any more, then texts, a few in each transaction."""
        name, keep, step = self.upstream.name, versions_store.KEEP, versions_store.STEP
        await self.storage.write(lambda db: versions_store.drop_unused_versions(db, name, keep))
        unused = await self.storage.read(versions_store.unused_texts)
        for start in range(0, len(unused), step):
            some = unused[start : start + step]
            await self.storage.write(lambda db, some=some: versions_store.drop_texts(db, some))  # type: ignore[misc]

    def _log(self, result: PullResult) -> PullResult:
        result = msgspec.structs.replace(result, seconds=self.clock.seconds)
        level = logging.DEBUG if result.outcome == "unchanged" else logging.INFO
        log.log(level, "pulled", extra={"upstream": self.upstream.name, **msgspec.to_builtins(result)})
        return result


@dataclass(slots=True, eq=False)
class RunningPull:
    """The running or last pull of an upstream."""

    progress: PullProgress
    task: "asyncio.Task[PullResult]"


class PullQueue:
    """Runs pulls one at a time, in the order in which they were asked for.

    `spool_dir` is where the texts of a pull lie while it runs.
    """

    def __init__(self, storage: Storage, spool_dir: Path, publish: Publish) -> None:
        self._storage = storage
        self._spool_dir = spool_dir
        self._publish = publish
        self._turn = asyncio.Lock()
        self._pulls: dict[str, RunningPull] = {}
        self.outcomes: Counter[tuple[str, PullOutcome]] = Counter()
        """How many pulls of each upstream have ended in which way since the start."""

    def start(self, upstream: Upstream, now: datetime) -> RunningPull:
        """Start a pull in the background, or join the one of this upstream that waits or runs."""
        found = self._pulls.get(upstream.name)
        if found is None or found.task.done():
            progress = PullProgress(id=secrets.token_hex(8))
            task = asyncio.create_task(self._run(upstream, progress, PullClock(now)))
            found = self._pulls[upstream.name] = RunningPull(progress, task)
        return found

    def progress(self, name: str) -> PullProgress | None:
        """Return the running or last pull of this upstream; None when there was none in this process."""
        found = self._pulls.get(name)
        if found is not None and found.progress.state == "collecting":
            with contextlib.suppress(OSError):
                found.progress.received_bytes = self._spool(name).stat().st_size
        return found.progress if found else None

    async def take_over(
        self, upstream: Upstream, collect_answer: Collect, now: datetime, write_audit: WriteAudit | None
    ) -> PullResult:
        """Run a pull on the answer that `collect_answer` brings, as soon as no other pull runs."""
        progress = PullProgress(id=secrets.token_hex(8))
        async with self._turn:
            pull = self._pull(upstream, progress, PullClock(now))
            pull.write_audit = write_audit
            return await pull.run(collect_answer)

    async def close(self) -> None:
        """Cancel running and waiting pulls; nothing stays of those not yet applied but texts that nothing uses."""
        tasks = [pull.task for pull in self._pulls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def clear(self) -> None:
        """Remove the spool files of pulls that were killed."""
        for left in self._spool_dir.glob("*.pull"):
            left.unlink(missing_ok=True)

    async def _run(self, upstream: Upstream, progress: PullProgress, asked: PullClock) -> PullResult:
        async with self._turn:
            pull = self._pull(upstream, progress, PullClock(asked.now))  # waiting for the turn does not count
            try:
                result = await pull.run()
            except Exception:
                log.exception("pull failed: %s", upstream.name)
                failure = Failure("worker", "The pull met a fault of this server; its log says more.")
                result = await pull.give_up(failure)
        self.outcomes[upstream.name, result.outcome] += 1
        progress.result = result
        progress.state = "failed" if result.outcome == "failed" else "done"
        return result

    def _pull(self, upstream: Upstream, progress: PullProgress, clock: PullClock) -> Pull:
        return Pull(self._storage, upstream, self._spool(upstream.name), self._publish, progress, clock)

    def _spool(self, name: str) -> Path:
        return self._spool_dir / f"{name}.pull"


def sandbox_failure(error: SandboxError) -> Failure:
    """Return the failure of a process that died, took too long or met a fault of ours."""
    return Failure("worker", f"The process that pulls failed: {str(error)[:300]}.")


def _sort(
    batch: list[Item],
    inspected: list[InspectedText],
    accepted: list[AcceptedItem],
    rejected: list[RejectedItem],
) -> None:
    for item, found in zip(batch, inspected, strict=True):
        if found.inspection is None:
            rejected.append(RejectedItem(item, found.reason, found.stated_id))
        else:
            accepted.append(AcceptedItem(found.rule_id, item))


def _store_texts(db: Database, inspected: list[InspectedText]) -> None:
    for found in inspected:
        if found.inspection is not None:
            put_text(db, found.inspection, found.text)


def _reason(upstream: Upstream, result: PullResult) -> str:
    numbers = f"{result.added} added, {result.changed} changed, {result.withdrawn} withdrawn"
    return f"pull of {upstream.name}: {numbers}"
