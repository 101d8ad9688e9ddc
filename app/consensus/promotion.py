"""Promotion: what is confirmed is gated and put in service.

The cycle does only what is due, found through an index, so its cost grows with what is ready and never with what is
pending. Gating runs outside any transaction; each promotion is one transaction that checks everything again, so a
crash or a second run in between loses and doubles nothing.

From top to bottom: the transaction that puts a gated text in service or says why not; canary rules, which are
promoted when their time is over and taken back when they are no longer confirmed; the cycle that drives both.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial

import msgspec
from sqlite_utils import Database

from app.access import audit_store
from app.consensus.feedback import AUTOMATIC, counted_false_positives, proposal_key, quarantine
from app.consensus.gating import GateResult, rename_rule, run_gate
from app.consensus.machine import OPEN, Event, Status, after
from app.consensus.policy import ConsensusPolicy
from app.consensus.store import (
    ProposalState,
    due_proposals,
    load_state,
    note_gate,
    retire,
    transition,
    variant_text,
    withdraw_approval,
)
from app.http.timestamps import from_text, to_text
from app.rules.store import COMMUNITY, free_id, put_text, rule_of_pattern, set_state, store_rule
from app.sandbox import Sandbox
from app.storage import Storage


class PromotionOutcome(Enum):
    """How an attempt at a promotion ended."""

    PROMOTED = auto()
    CANARIED = auto()
    FAILED = auto()
    """The text did not pass the gate."""

    RETURNED = auto()
    """It is not confirmed any more: keys were revoked since."""

    CHANGED = auto()
    """It was decided, or its text replaced, in the meantime."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant to promote."""

    digest: str
    text: str


@dataclass(frozen=True, slots=True)
class NeedsId:
    """The rule must take this id, in its text too, before it can be put in service."""

    rule_id: str


def next_choice(db: Database, pattern_hash: str, policy: ConsensusPolicy) -> Choice | None:
    """Return the variant of a confirmed proposal to gate now; None when it is not confirmed (any more)."""
    state = load_state(db, pattern_hash, policy)
    if state.proposal.status is not Status.CONFIRMED or state.vote_count.status is not Status.CONFIRMED:
        return None
    digest = state.vote_count.choices[0]
    return Choice(digest, variant_text(db, pattern_hash, digest))


def return_to_pending(
    db: Database, pattern_hash: str, now: datetime, policy: ConsensusPolicy
) -> PromotionOutcome:
    """Let a confirmed proposal be pending again, because keys were revoked since."""
    state = load_state(db, pattern_hash, policy)
    if state.proposal.status is not Status.CONFIRMED or state.vote_count.status is Status.CONFIRMED:
        return PromotionOutcome.CHANGED
    transition(db, state, Event.TICK, to_text(now))
    return PromotionOutcome.RETURNED


def put_in_service(
    db: Database, pattern_hash: str, choice: Choice, gated: GateResult, now: datetime, policy: ConsensusPolicy
) -> PromotionOutcome | NeedsId:
    """Record what the gate said of `choice` and, when it passed, put `gated.text` in service as a community rule.

    Everything that led to the choice is checked again. A rule never takes an id that any other rule has, of any
    origin and in any state: then nothing happens but that the answer says which id to take.
    """
    state = load_state(db, pattern_hash, policy)
    if state.proposal.status is Status.CONFIRMED and state.vote_count.status is not Status.CONFIRMED:
        return return_to_pending(db, pattern_hash, now, policy)
    if not _still_chosen(db, state, choice):
        return PromotionOutcome.CHANGED
    if gated.inspection is None or gated.inspection.facts is None:
        return _failed(db, pattern_hash, choice, gated, now, policy)
    note_gate(db, pattern_hash, choice.digest, choice.text, "[]")
    own_id = gated.inspection.facts.rule_id
    before = rule_of_pattern(db, pattern_hash)
    rule_id = free_id(db, before.rule_id if before else own_id, pattern_hash)
    if rule_id != own_id:
        return NeedsId(rule_id)
    digest = put_text(db, gated.inspection, gated.text)
    return _serve(db, state, rule_id, digest, now, staged=policy.canary_hours > 0)


def _still_chosen(db: Database, state: ProposalState, choice: Choice) -> bool:
    return (
        state.proposal.status is Status.CONFIRMED
        and state.vote_count.choices[0] == choice.digest
        and variant_text(db, state.proposal.pattern_hash, choice.digest) == choice.text
    )


def _serve(
    db: Database, state: ProposalState, rule_id: str, digest: str, now: datetime, *, staged: bool
) -> PromotionOutcome:
    at, pattern_hash = to_text(now), state.proposal.pattern_hash
    status = transition(db, state, Event.GATE_PASSED, at, staged=staged)
    store_rule(
        db,
        origin=COMMUNITY,
        rule_id=rule_id,
        digest=digest,
        state="canary" if staged else "active",
        at=at,
        pattern_hash=pattern_hash,
    )
    audit_store.append(
        db,
        at=now,
        actor=AUTOMATIC,
        action=f"proposal.{status}",
        target=pattern_hash,
        detail={"ruleId": rule_id, "digest": digest, "confirmations": state.vote_count.counted},
    )
    return PromotionOutcome.CANARIED if staged else PromotionOutcome.PROMOTED


def _failed(
    db: Database, pattern_hash: str, choice: Choice, gated: GateResult, now: datetime, policy: ConsensusPolicy
) -> PromotionOutcome:
    """Keep the text with the reasons; an approval ends with it, since what replaces it was not approved."""
    problems = msgspec.json.encode(gated.reasons).decode()
    note_gate(db, pattern_hash, choice.digest, choice.text, problems)
    withdraw_approval(db, pattern_hash, choice.digest)
    state = load_state(db, pattern_hash, policy)
    reason = f"The gate refused it: {'; '.join(gated.reasons)}"
    transition(db, state, Event.GATE_FAILED, to_text(now), reason=reason)
    return PromotionOutcome.FAILED


@dataclass(frozen=True, slots=True)
class _CanaryReview:
    state: ProposalState
    false_positives: int
    event: Event


def stays(db: Database, pattern_hash: str, now: datetime, policy: ConsensusPolicy) -> bool:
    """Return True when there is nothing to do for it now; asked on a reader, so that waiting costs no write."""
    review = _review_canary(db, pattern_hash, now, policy)
    proposal = review.state.proposal
    if proposal.status is not Status.CANARY:
        return True
    enough = review.false_positives >= policy.quarantine_votes
    return (
        not enough and after(proposal.status, review.event, review.state.vote_count.status) is Status.CANARY
    )


def advance(db: Database, pattern_hash: str, now: datetime, policy: ConsensusPolicy) -> Status | None:
    """Promote, quarantine or take back a canary rule; the new state, or None when it was no canary any more.

    It is taken back when keys of its supporters were revoked so that it is not confirmed any more.
    """
    review = _review_canary(db, pattern_hash, now, policy)
    if review.state.proposal.status is not Status.CANARY:
        return None
    if review.false_positives >= policy.quarantine_votes:
        quarantine(db, pattern_hash, review.false_positives, now, policy)
        return Status.QUARANTINED
    at = to_text(now)
    status = transition(db, review.state, review.event, at)
    rule = rule_of_pattern(db, pattern_hash)
    if status in OPEN:
        retire(db, pattern_hash, "withdrawn", "not confirmed any more", at)
    elif status is Status.PROMOTED and rule is not None:
        set_state(db, origin=rule.origin, rule_id=rule.rule_id, state="active", reason=None, at=at)
    if status is not Status.CANARY:
        audit_store.append(
            db,
            at=now,
            actor=AUTOMATIC,
            action=f"proposal.{'promoted' if status is Status.PROMOTED else 'returned'}",
            target=pattern_hash,
            detail={"from": Status.CANARY, "to": status, "confirmations": review.state.vote_count.counted},
        )
    return status


def _review_canary(db: Database, pattern_hash: str, now: datetime, policy: ConsensusPolicy) -> _CanaryReview:
    state = load_state(db, pattern_hash, policy)
    since = state.proposal.canary_since
    over = since is None or from_text(since) + timedelta(hours=policy.canary_hours) <= now
    return _CanaryReview(
        state,
        counted_false_positives(db, proposal_key(pattern_hash), policy),
        Event.CANARY_OVER if over else Event.TICK,
    )


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
        for pattern_hash, status in await storage.read(due_proposals):
            if status == Status.CONFIRMED:
                await cycle.promote(pattern_hash)
            else:
                await cycle.advance_canary(pattern_hash)
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
            outcome = await self._attempt(pattern_hash, choice)
            if outcome is not PromotionOutcome.FAILED:
                self._note(pattern_hash, outcome)
                return
            tried += 1
        if tried:
            self._note(pattern_hash, PromotionOutcome.FAILED)
        else:
            self._note(
                pattern_hash,
                await self.storage.write(
                    lambda db: return_to_pending(db, pattern_hash, self.now, self.policy)
                ),
            )

    async def advance_canary(self, pattern_hash: str) -> None:
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

    async def _attempt(self, pattern_hash: str, choice: Choice) -> PromotionOutcome:
        gated = await run_gate(self.sandbox, choice.text, self.policy.quality)
        while True:
            attempt = partial(
                put_in_service,
                pattern_hash=pattern_hash,
                choice=choice,
                gated=gated,
                now=self.now,
                policy=self.policy,
            )
            outcome = await self.storage.write(attempt)
            if not isinstance(outcome, NeedsId):
                return outcome
            gated = await rename_rule(self.sandbox, choice.text, outcome.rule_id)

    def _note(self, pattern_hash: str, outcome: PromotionOutcome) -> None:
        match outcome:
            case PromotionOutcome.PROMOTED | PromotionOutcome.CANARIED:
                (self.promoted if outcome is PromotionOutcome.PROMOTED else self.canaried).append(
                    pattern_hash
                )
                self.changed.append(f"{pattern_hash} {outcome.name.lower()}")
            case PromotionOutcome.FAILED:
                self.failed.append(pattern_hash)
            case PromotionOutcome.RETURNED:
                self.returned.append(pattern_hash)
            case PromotionOutcome.CHANGED:
                self.waiting += 1
