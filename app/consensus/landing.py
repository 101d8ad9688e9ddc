"""One promotion: the transaction that puts a gated text in service, or says why not."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

import msgspec
from sqlite_utils import Database

from app.access import audit_store
from app.consensus.feedback import AUTOMATIC
from app.consensus.gating import Gated
from app.consensus.machine import Event
from app.consensus.policy import ConsensusPolicy
from app.consensus.states import Status
from app.consensus.store import Case, load_case, move, note_gate, variant_text
from app.http.timestamps import to_text
from app.rules.store import COMMUNITY, free_id, put_text, rule_of_pattern, store_rule


class Landed(Enum):
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
    """The variant of a confirmed proposal to gate now; None when it is not confirmed (any more)."""
    case = load_case(db, pattern_hash, policy)
    if case.proposal.status is not Status.CONFIRMED or case.standing.status is not Status.CONFIRMED:
        return None
    digest = case.standing.choices[0]
    return Choice(digest, variant_text(db, pattern_hash, digest))


def give_back(db: Database, pattern_hash: str, now: datetime, policy: ConsensusPolicy) -> Landed:
    """Let a confirmed proposal be pending again, because keys were revoked since."""
    case = load_case(db, pattern_hash, policy)
    if case.proposal.status is not Status.CONFIRMED or case.standing.status is Status.CONFIRMED:
        return Landed.CHANGED
    move(db, case, Event.TICK, to_text(now))
    return Landed.RETURNED


def land(
    db: Database, pattern_hash: str, choice: Choice, gated: Gated, now: datetime, policy: ConsensusPolicy
) -> Landed | NeedsId:
    """Record what the gate said of `choice` and, when it passed, put `gated.text` in service as a community rule.

    Everything that led to the choice is checked again. A rule never takes an id that any other rule has, of any
    origin and in any state: then nothing happens but that the answer says which id to take.
    """
    case = load_case(db, pattern_hash, policy)
    if case.proposal.status is Status.CONFIRMED and case.standing.status is not Status.CONFIRMED:
        return give_back(db, pattern_hash, now, policy)
    if not _still_chosen(db, case, choice):
        return Landed.CHANGED
    if gated.inspection is None or gated.inspection.facts is None:
        return _failed(db, pattern_hash, choice, gated, now, policy)
    note_gate(db, pattern_hash, choice.digest, choice.text, "[]")
    own_id = gated.inspection.facts.rule_id
    before = rule_of_pattern(db, pattern_hash)
    rule_id = free_id(db, before.rule_id if before else own_id, pattern_hash)
    if rule_id != own_id:
        return NeedsId(rule_id)
    digest = put_text(db, gated.inspection, gated.text)
    return _serve(db, case, rule_id, digest, now, staged=policy.canary_hours > 0)


def _still_chosen(db: Database, case: Case, choice: Choice) -> bool:
    return (
        case.proposal.status is Status.CONFIRMED
        and case.standing.choices[0] == choice.digest
        and variant_text(db, case.proposal.pattern_hash, choice.digest) == choice.text
    )


def _serve(db: Database, case: Case, rule_id: str, digest: str, now: datetime, *, staged: bool) -> Landed:
    at, pattern_hash = to_text(now), case.proposal.pattern_hash
    status = move(db, case, Event.GATE_PASSED, at, staged=staged)
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
        detail={"ruleId": rule_id, "digest": digest, "confirmations": case.standing.counted},
    )
    return Landed.CANARIED if staged else Landed.PROMOTED


def _failed(
    db: Database, pattern_hash: str, choice: Choice, gated: Gated, now: datetime, policy: ConsensusPolicy
) -> Landed:
    """Keep the text with the reasons; an approval ends with it, since what replaces it was not approved."""
    problems = msgspec.json.encode(gated.reasons).decode()
    note_gate(db, pattern_hash, choice.digest, choice.text, problems)
    db.conn.execute(
        "UPDATE proposal SET approved_variant = NULL WHERE pattern_hash = ? AND approved_variant = ?",
        [pattern_hash, choice.digest],
    )
    case = load_case(db, pattern_hash, policy)
    reason = f"The gate refused it: {'; '.join(gated.reasons)}"
    move(db, case, Event.GATE_FAILED, to_text(now), reason=reason)
    return Landed.FAILED
