"""`Federation`: what the routes, the scheduler and the command line call."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from app.access import audit
from app.federation import pending_store, review, store, versions_store
from app.federation.apply import AUTOMATIC, Audit
from app.federation.errors import NothingToPull, PullsHeld, UnknownUpstream
from app.federation.pending_store import HeldState, ShownChange
from app.federation.pull import Gather, Publish, Pull, Puller
from app.federation.review import By
from app.federation.schedule import is_due
from app.federation.sources.collected import SetAside
from app.federation.status import Progress, PullResult, UpstreamStatus, is_pulled, read_status
from app.federation.upstream import HttpUpstream, Upstream
from app.federation.versions_store import ShownVersion
from app.http.paging import Page
from app.http.timestamps import from_text, to_text
from app.overlay.store import settle as settle_overlay
from app.storage import Storage

HoldReason = Callable[[], Awaitable[str | None]]
"""Why a rollback holds pulls, or None when none does."""

SPOOL = "spool"
"""Folder below the state folder for what is being pulled."""


class Federation:
    """The configured upstreams, from a pull to rules in service.

    One pull runs at a time, the others wait. Every method that names an upstream raises `UnknownUpstream`; refusals
    are `FederationError`s. Instants are passed in.
    """

    def __init__(
        self,
        storage: Storage,
        upstreams: Sequence[Upstream],
        state_dir: Path,
        publish: Publish,
        hold_reason: HoldReason,
    ) -> None:
        self.upstreams = {upstream.name: upstream for upstream in upstreams}
        self._storage = storage
        self._spool_dir = state_dir / SPOOL
        self._puller = Puller(storage, self._spool_dir, publish)
        self._publish = publish
        self._hold_reason = hold_reason
        self.outcomes = self._puller.outcomes
        """`(upstream, outcome)` and how many pulls have ended so since the start, for metrics."""

    async def adopt(self, now: datetime, *, withdraw: bool = True) -> None:
        """At start: bring what is held in line with the configuration, without asking any upstream.

        An upstream whose entry in the configuration has changed becomes due, filters are applied, overlay entries
        settled. With `withdraw`, rules of upstreams that are configured no more go out of service: not when a verb of
        the command line opens the instance, perhaps with another configuration than the server's. The caller
        publishes.
        """
        at, upstreams = to_text(now), list(self.upstreams.values())

        def bring_in_line(db: Database) -> None:
            store.sync_rows(db, upstreams)
            if withdraw:
                _withdraw_others(db, upstreams, now)
            for upstream in upstreams:
                store.apply_filters(db, upstream)
            settle_overlay(db, at)

        await asyncio.to_thread(self._puller.clear)
        await self._storage.write(bring_in_line)

    async def due(self, now: datetime) -> list[Upstream]:
        """The upstreams to pull at a start, those without a network first; none while a rollback holds pulls.

        Those whose time has come: an upstream that failed, or asked for patience, before the restart still gets it.
        What lies on this machine is always looked at.
        """
        if await self._hold_reason() is not None:
            return []

        def read(db: Database) -> list[Upstream]:
            return [u for u in self.pulled() if not is_remote(u) or _is_due(db, u, now)]

        return sorted(await self._storage.read(read), key=is_remote)

    async def pull(self, name: str, now: datetime) -> PullResult:
        """Pull an upstream and return what that did; joins a pull of it that waits or runs already.

        A failure of the upstream is a result, too. Raises `PullsHeld`, `NothingToPull`.
        """
        # The pull goes on when this caller gives up waiting.
        return await asyncio.shield((await self._start(name, now)).task)

    async def start_if_due(self, name: str, now: datetime) -> None:
        """Start a pull whose time has come, in the background, unless a rollback holds pulls."""
        upstream = self.upstream(name)
        if await self._storage.read(lambda db: _is_due(db, upstream, now)):
            with contextlib.suppress(PullsHeld):
                await self.start_pull(name, now)

    async def start_pull(self, name: str, now: datetime) -> Progress:
        """Start a pull in the background, or join the one that waits or runs. Raises `PullsHeld`, `NothingToPull`."""
        return (await self._start(name, now)).progress

    async def progress(self, name: str) -> Progress | None:
        """The running or last pull of this process; None when there was none."""
        return self._puller.progress(self.upstream(name).name)

    async def land(
        self, upstream: Upstream, gather: Gather, now: datetime, audit: Audit | None = None
    ) -> PullResult:
        """Take over what is collected in some other way, an imported bundle say; publishes like a pull.

        `audit` writes the entry in the audit log, in the transaction that brings the rules into service. Raises
        `PullsHeld`.
        """
        await self.refuse_while_held()
        return await self._puller.land(upstream, gather, now, audit)

    async def refuse_while_held(self) -> None:
        """Raise `PullsHeld` while a rollback holds pulls."""
        if reason := await self._hold_reason():
            raise PullsHeld(f"A rollback holds pulls ({reason}); `threatcloud publication release` ends it.")

    @property
    def spool_dir(self) -> Path:
        """Where the texts of a pull lie while it runs; a start clears away what ends in `.pull`."""
        return self._spool_dir

    async def approve(
        self,
        name: str,
        rule_ids: Collection[str] | None,
        by: By,
        reason: str | None = None,
        digest: str | None = None,
    ) -> tuple[list[str], int | None]:
        """Apply held changes (None: all of them) and publish; returns the ids and the new serial.

        A change that was refused is applied too when it is named. While a rollback holds, the publication waits (no
        serial). Raises `HeldMoved` when `digest` no longer names what is held, `UnknownChange`.
        """
        upstream = self.upstream(name)
        approved = await self._storage.write(
            lambda db: review.approve(db, upstream, rule_ids, by, reason, digest)
        )
        serial = await self._publish(f"{len(approved)} changes of {name} approved") if approved else None
        return approved, serial

    async def refuse(
        self, name: str, rule_ids: Collection[str] | None, by: By, reason: str, digest: str | None = None
    ) -> list[str]:
        """Refuse held changes (None: all of them) for as long as upstream offers the same; returns the ids.

        Raises `HeldMoved`, `UnknownChange`.
        """
        upstream = self.upstream(name)
        return await self._storage.write(lambda db: review.refuse(db, upstream, rule_ids, by, reason, digest))

    async def statuses(self, now: datetime) -> list[UpstreamStatus]:
        """How every upstream is doing, in the order of the configuration."""
        paused, upstreams = await self._hold_reason(), list(self.upstreams.values())
        return await self._storage.read(lambda db: [read_status(db, u, paused, now) for u in upstreams])

    async def status(self, name: str, now: datetime) -> UpstreamStatus:
        """How one upstream is doing."""
        upstream, paused = self.upstream(name), await self._hold_reason()
        return await self._storage.read(lambda db: read_status(db, upstream, paused, now))

    async def set_aside(self, name: str) -> list[SetAside]:
        """What the last answer offered that is not taken, with the reasons, by rule id."""
        self.upstream(name)
        return await self._storage.read(lambda db: store.set_aside_of(db, name))

    async def list_versions(self, name: str, page: Page) -> list[ShownVersion]:
        """Versions, newest first: up to one more than `page.limit`, which tells that there is a next page."""
        self.upstream(name)
        return await self._storage.read(lambda db: versions_store.list_versions(db, name, page))

    async def list_held(self, name: str, page: Page, state: HeldState) -> tuple[list[ShownChange], str, int]:
        """Changes in this state by rule id, the digest of what is held, and how many are in the state.

        Up to one change more than `page.limit`, which tells that there is a next page.
        """
        self.upstream(name)

        def read(db: Database) -> tuple[list[ShownChange], str, int]:
            waiting, refused = pending_store.counts(db, name)
            total = waiting if state == "held" else refused
            return pending_store.list_changes(db, name, page, state), pending_store.digest(db, name), total

        return await self._storage.read(read)

    async def show_held(self, name: str, rule_id: str) -> tuple[ShownChange, str | None, str | None]:
        """One held or refused change with the texts before and after it; raises `UnknownChange`."""
        self.upstream(name)
        return await self._storage.read(lambda db: pending_store.show_change(db, name, rule_id))

    async def close(self) -> None:
        """Give up running and waiting pulls."""
        await self._puller.close()

    def pulled(self) -> list[Upstream]:
        """The upstreams that are asked, not only imported from."""
        return [upstream for upstream in self.upstreams.values() if is_pulled(upstream)]

    def upstream(self, name: str) -> Upstream:
        """The configuration of an upstream."""
        found = self.upstreams.get(name)
        if found is None:
            raise UnknownUpstream(f"No upstream is called {name}; see `threatcloud upstream list`.")
        return found

    async def _start(self, name: str, now: datetime) -> Pull:
        upstream = self.upstream(name)
        if not is_pulled(upstream):
            raise NothingToPull(
                f"{name} has no path to look for bundles at; use `threatcloud bundle import`."
            )
        await self.refuse_while_held()
        return self._puller.start(upstream, now)


def is_remote(upstream: Upstream) -> bool:
    """True for what is reached over a network."""
    return isinstance(upstream, HttpUpstream)


def _withdraw_others(db: Database, upstreams: Sequence[Upstream], now: datetime) -> None:
    for name, count in store.drop_unconfigured(db, upstreams, to_text(now)).items():
        audit.append(
            db, at=now, actor=AUTOMATIC, action="upstream.removed", target=name, detail={"withdrawn": count}
        )


def _is_due(db: Database, upstream: Upstream, now: datetime) -> bool:
    next_at = store.load_row(db, upstream.name).next_at
    return is_due(now, None if next_at is None else from_text(next_at), upstream.every)
