"""The promotion cycle: what is confirmed is gated and put in service.

It looks only at what is due, found through an index, so its cost grows with what is ready and never with what is
pending. Gating runs outside any transaction; each promotion is one transaction that checks everything again, so a
crash or a second run in between loses and doubles nothing.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import msgspec
from sqlite_utils import Database

from app.consensus.canary import advance, stays
from app.consensus.gating import check, rename
from app.consensus.landing import Choice, Landed, NeedsId, give_back, land, next_choice
from app.consensus.policy import ConsensusPolicy
from app.consensus.states import OPEN, Status
from app.sandbox import Sandbox
from app.storage import Storage

OnChange = Callable[[str], Awaitable[object]]
"""Called with a sentence after the set of rules in service has changed."""


class CycleReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one cycle did, by pattern hash.

    `failed` did not pass the gate; `returned` are not confirmed any more; `waiting` is how many stay due (in
    canary, or changed while they were looked at); `seconds` is how long that took, without what `on_change` does.
    """

    promoted: tuple[str, ...]
    canaried: tuple[str, ...]
    failed: tuple[str, ...]
    quarantined: tuple[str, ...]
    returned: tuple[str, ...]
    waiting: int
    seconds: float


async def promote_confirmed_proposals(
    storage: Storage, sandbox: Sandbox, policy: ConsensusPolicy, now: datetime, on_change: OnChange
) -> CycleReport:
    """Run one cycle; `on_change` is called once when it changed what is in service, also when it then failed.

    Raises `StorageUnavailable`; what was promoted before stays promoted.
    """
    started = time.perf_counter()
    cycle = _Cycle(storage, sandbox, policy, now)
    try:
        for pattern_hash, status in await storage.read(due):
            if status == Status.CONFIRMED:
                await cycle.promote(pattern_hash)
            else:
                await cycle.look_after(pattern_hash)
    finally:
        seconds = time.perf_counter() - started
        if cycle.changed:
            await on_change(f"promotion cycle: {', '.join(cycle.changed)}")
    return CycleReport(
        promoted=tuple(cycle.promoted),
        canaried=tuple(cycle.canaried),
        failed=tuple(cycle.failed),
        quarantined=tuple(cycle.quarantined),
        returned=tuple(cycle.returned),
        waiting=cycle.waiting,
        seconds=round(seconds, 4),
    )


def due(db: Database) -> list[tuple[str, str]]:
    """Pattern hash and status of what a cycle has to look at, the longest waiting first."""
    return db.conn.execute(
        "SELECT pattern_hash, status FROM proposal WHERE status IN ('confirmed', 'canary') ORDER BY changed_at"
    ).fetchall()


@dataclass(slots=True)
class _Cycle:
    storage: Storage
    sandbox: Sandbox
    policy: ConsensusPolicy
    now: datetime
    promoted: list[str] = field(default_factory=list)
    canaried: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    waiting: int = 0

    async def promote(self, pattern_hash: str) -> None:
        """Gate the texts of a confirmed proposal, best first, until one is in service or none is left."""
        tried = 0
        while choice := await self.storage.read(lambda db: next_choice(db, pattern_hash, self.policy)):
            landed = await self._attempt(pattern_hash, choice)
            if landed is not Landed.FAILED:
                self._note(pattern_hash, landed)
                return
            tried += 1
        if tried:
            self._note(pattern_hash, Landed.FAILED)
        else:
            self._note(
                pattern_hash,
                await self.storage.write(lambda db: give_back(db, pattern_hash, self.now, self.policy)),
            )

    async def look_after(self, pattern_hash: str) -> None:
        """Let a canary rule go on, back or out of service."""
        if await self.storage.read(lambda db: stays(db, pattern_hash, self.now, self.policy)):
            self.waiting += 1
            return
        status = await self.storage.write(lambda db: advance(db, pattern_hash, self.now, self.policy))
        if status is Status.PROMOTED:
            self.promoted.append(pattern_hash)
        elif status is Status.QUARANTINED:
            self.quarantined.append(pattern_hash)
        elif status in OPEN:
            self.returned.append(pattern_hash)
        else:
            self.waiting += 1
            return
        self.changed.append(f"{pattern_hash} {status}")

    async def _attempt(self, pattern_hash: str, choice: Choice) -> Landed:
        gated = await check(self.sandbox, choice.text, self.policy.quality)
        while True:
            land_it = partial(
                land, pattern_hash=pattern_hash, choice=choice, gated=gated, now=self.now, policy=self.policy
            )
            landed = await self.storage.write(land_it)
            if not isinstance(landed, NeedsId):
                return landed
            gated = await rename(self.sandbox, choice.text, landed.rule_id)

    def _note(self, pattern_hash: str, landed: Landed) -> None:
        match landed:
            case Landed.PROMOTED | Landed.CANARIED:
                (self.promoted if landed is Landed.PROMOTED else self.canaried).append(pattern_hash)
                self.changed.append(f"{pattern_hash} {landed.name.lower()}")
            case Landed.FAILED:
                self.failed.append(pattern_hash)
            case Landed.RETURNED:
                self.returned.append(pattern_hash)
            case Landed.CHANGED:
                self.waiting += 1
