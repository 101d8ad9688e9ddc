"""`Federation`: what the routes, the scheduler and the command line call."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from app.access import audit_store
from app.access.principal import Actor
from app.federation import pending_store, review, store, versions_store
from app.federation.apply import AUTOMATIC, WriteAudit
from app.federation.errors import NothingToPull, PullsFrozen, UnknownUpstream
from app.federation.pending_store import PendingChange, PendingState
from app.federation.pull import Collect, Publish, PullQueue, RunningPull
from app.federation.schedule import is_due
from app.federation.sources.collected import SetAside
from app.federation.status import PullProgress, PullResult, UpstreamStatus, is_pulled, read_status
from app.federation.upstream import HttpUpstream, Upstream
from app.federation.versions_store import UpstreamVersion
from app.http.paging import Page
from app.http.timestamps import from_text, to_text
from app.overlay.entries import recompute_overlay
from app.storage import Storage

FreezeReason = Callable[[], Awaitable[str | None]]
"""Says why a rollback freezes pulls; None when none does."""

SPOOL = "spool"
"""Folder below the state folder for the texts of running pulls."""


class Federation:
    """The configured upstreams, from a pull to rules in service.

    One pull runs at a time, the others wait. Every method that takes the name of an upstream raises
    `UnknownUpstream`; refusals are `FederationError`s. Instants are passed in.
    """

    def __init__(
        self,
        storage: Storage,
        upstreams: Sequence[Upstream],
        state_dir: Path,
        publish: Publish,
        freeze_reason: FreezeReason,
    ) -> None:
        self.upstreams = {upstream.name: upstream for upstream in upstreams}
        self._storage = storage
        self._spool_dir = state_dir / SPOOL
        self._pulls = PullQueue(storage, self._spool_dir, publish)
        self._publish = publish
        self._freeze_reason = freeze_reason
        self.outcomes = self._pulls.outcomes
        """`(upstream, outcome) -> how many pulls have ended so since the start`, for metrics."""

    async def adopt(self, now: datetime, *, withdraw: bool = True) -> None:
        """Bring the database in line with the configuration at the start, without asking any upstream.

        An upstream whose entry in the configuration has changed becomes due, filters are applied, the effective
        overlay is recomputed. With `withdraw`, rules of upstreams that are no longer configured go out of service:
        not when a command opens the instance, perhaps with another configuration than the server's. The caller
        publishes.
        """
        at, upstreams = to_text(now), list(self.upstreams.values())

        def bring_in_line(db: Database) -> None:
            store.sync_rows(db, upstreams)
            if withdraw:
                _withdraw_unconfigured(db, upstreams, now)
            for upstream in upstreams:
                store.apply_filters(db, upstream)
            recompute_overlay(db, at)

        await asyncio.to_thread(self._pulls.clear)
        await self._storage.write(bring_in_line)

    async def due(self, now: datetime) -> list[Upstream]:
        """Return the upstreams to pull at a start, local ones first; none while a rollback freezes pulls.

        An upstream that failed, or asked us to wait, before the restart is due when its time has come; upstreams on
        this machine are always due.
        """
        if await self._freeze_reason() is not None:
            return []

        def read(db: Database) -> list[Upstream]:
            return [u for u in self.pulled() if not is_remote(u) or _is_due(db, u, now)]

        return sorted(await self._storage.read(read), key=is_remote)

    async def pull(self, name: str, now: datetime) -> PullResult:
        """Pull an upstream and return what that did; join a pull of it that waits or runs already.

        A failure of the upstream is a result too. Raises `PullsFrozen`, `NothingToPull`.
        """
        # The pull goes on when this caller gives up waiting.
        return await asyncio.shield((await self._start(name, now)).task)

    async def start_if_due(self, name: str, now: datetime) -> None:
        """Start a pull whose time has come, in the background, unless a rollback freezes pulls."""
        upstream = self.upstream(name)
        if await self._storage.read(lambda db: _is_due(db, upstream, now)):
            with contextlib.suppress(PullsFrozen):
                await self.start_pull(name, now)

    async def start_pull(self, name: str, now: datetime) -> PullProgress:
        """Start a pull in the background, or join the one that waits or runs.

        Raises `PullsFrozen`, `NothingToPull`.
        """
        return (await self._start(name, now)).progress

    async def progress(self, name: str) -> PullProgress | None:
        """Return the running or last pull of this process; None when there was none."""
        return self._pulls.progress(self.upstream(name).name)

    async def take_over(
        self,
        upstream: Upstream,
        collect_answer: Collect,
        now: datetime,
        write_audit: WriteAudit | None = None,
    ) -> PullResult:
        """Take over an answer that is collected in another way, such as an imported bundle; publish like a pull.

        `write_audit` writes the entry in the audit log, in the transaction that brings the rules into service. Raises
        `PullsFrozen`.
        """
        await self.refuse_while_frozen()
        return await self._pulls.take_over(upstream, collect_answer, now, write_audit)

    async def refuse_while_frozen(self) -> None:
        """Raise `PullsFrozen` while a rollback freezes pulls."""
        if reason := await self._freeze_reason():
            raise PullsFrozen(f"A rollback holds pulls ({reason}); `threatcloud publication resume` ends it.")

    @property
    def spool_dir(self) -> Path:
        """The folder of the texts of running pulls; a start removes what ends in `.pull` there."""
        return self._spool_dir

    async def approve(
        self,
        name: str,
        rule_ids: Collection[str] | None,
        actor: Actor,
        reason: str | None = None,
        digest: str | None = None,
    ) -> tuple[list[str], int | None]:
        """Apply held changes (None: all of them) and publish; return the ids and the new serial.

        A change that was rejected is applied too when it is named. While a rollback freezes the publication, it
        waits (no serial). Raises `PendingChangesMoved` when `digest` no longer names what is held, `UnknownChange`.
        """
        upstream = self.upstream(name)
        approved = await self._storage.write(
            lambda db: review.approve(db, upstream, rule_ids, actor, reason, digest)
        )
        serial = await self._publish(f"{len(approved)} changes of {name} approved") if approved else None
        return approved, serial

    async def reject(
        self,
        name: str,
        rule_ids: Collection[str] | None,
        actor: Actor,
        reason: str,
        digest: str | None = None,
    ) -> list[str]:
        """Reject held changes (None: all of them) for as long as upstream offers the same; return the ids.

        Raises `PendingChangesMoved`, `UnknownChange`.
        """
        upstream = self.upstream(name)
        return await self._storage.write(
            lambda db: review.reject(db, upstream, rule_ids, actor, reason, digest)
        )

    async def statuses(self, now: datetime) -> list[UpstreamStatus]:
        """Return the status of every upstream, in the order of the configuration."""
        paused, upstreams = await self._freeze_reason(), list(self.upstreams.values())
        return await self._storage.read(lambda db: [read_status(db, u, paused, now) for u in upstreams])

    async def status(self, name: str, now: datetime) -> UpstreamStatus:
        """Return the status of one upstream."""
        upstream, paused = self.upstream(name), await self._freeze_reason()
        return await self._storage.read(lambda db: read_status(db, upstream, paused, now))

    async def set_aside(self, name: str) -> list[SetAside]:
        """Return what the last answer offered that is not taken, with the reasons, by rule id."""
        self.upstream(name)
        return await self._storage.read(lambda db: store.set_aside_of(db, name))

    async def list_versions(self, name: str, page: Page) -> list[UpstreamVersion]:
        """List versions, newest first: up to one more than `page.limit`, which says that there is a next page."""
        self.upstream(name)
        return await self._storage.read(lambda db: versions_store.list_versions(db, name, page))

    async def list_pending(
        self, name: str, page: Page, state: PendingState
    ) -> tuple[list[PendingChange], str, int]:
        """Return changes in this state by rule id, the digest of what is held, and how many are in the state.

        The list has up to one change more than `page.limit`, which says that there is a next page.
        """
        self.upstream(name)

        def read(db: Database) -> tuple[list[PendingChange], str, int]:
            held, rejected = pending_store.counts(db, name)
            total = held if state == "held" else rejected
            return pending_store.list_changes(db, name, page, state), pending_store.digest(db, name), total

        return await self._storage.read(read)

    async def show_pending(self, name: str, rule_id: str) -> tuple[PendingChange, str | None, str | None]:
        """Return one pending change with the texts before and after it; raises `UnknownChange`."""
        self.upstream(name)
        return await self._storage.read(lambda db: pending_store.show_change(db, name, rule_id))

    async def close(self) -> None:
        """Cancel running and waiting pulls."""
        await self._pulls.close()

    def pulled(self) -> list[Upstream]:
        """Return the upstreams that are pulled, not only imported from."""
        return [upstream for upstream in self.upstreams.values() if is_pulled(upstream)]

    def upstream(self, name: str) -> Upstream:
        """Return the configuration of an upstream."""
        found = self.upstreams.get(name)
        if found is None:
            raise UnknownUpstream(f"No upstream is called {name}; see `threatcloud upstream list`.")
        return found

    async def _start(self, name: str, now: datetime) -> RunningPull:
        upstream = self.upstream(name)
        if not is_pulled(upstream):
            raise NothingToPull(
                f"{name} has no path to look for bundles at; use `threatcloud bundle import`."
            )
        await self.refuse_while_frozen()
        return self._pulls.start(upstream, now)


def is_remote(upstream: Upstream) -> bool:
    """Return True for an upstream that is reached over a network."""
    return isinstance(upstream, HttpUpstream)


def _withdraw_unconfigured(db: Database, upstreams: Sequence[Upstream], now: datetime) -> None:
    for name, count in store.drop_unconfigured(db, upstreams, to_text(now)).items():
        audit_store.append(
            db, at=now, actor=AUTOMATIC, action="upstream.removed", target=name, detail={"withdrawn": count}
        )


def _is_due(db: Database, upstream: Upstream, now: datetime) -> bool:
    next_at = store.load_row(db, upstream.name).next_at
    return is_due(now, None if next_at is None else from_text(next_at), upstream.every)
