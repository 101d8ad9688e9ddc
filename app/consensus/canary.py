"""What becomes of rules in canary: promoted when their time is over, taken back when their ground is gone."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlite_utils import Database

from app.access import audit_store
from app.consensus.feedback import AUTOMATIC, counted_false_positives, proposal_key, quarantine
from app.consensus.machine import Event, after
from app.consensus.policy import ConsensusPolicy
from app.consensus.states import OPEN, Status
from app.consensus.store import Case, load_case, move, retire
from app.http.timestamps import from_text, to_text
from app.rules.store import rule_of_pattern, set_state


@dataclass(frozen=True, slots=True)
class _Look:
    case: Case
    false_positives: int
    event: Event


def stays(db: Database, pattern_hash: str, now: datetime, policy: ConsensusPolicy) -> bool:
    """True when there is nothing to do for it now; asked on a reader, so that waiting costs no write."""
    look = _look(db, pattern_hash, now, policy)
    proposal = look.case.proposal
    if proposal.status is not Status.CANARY:
        return True
    enough = look.false_positives >= policy.quarantine_votes
    return not enough and after(proposal.status, look.event, look.case.standing.status) is Status.CANARY


def advance(db: Database, pattern_hash: str, now: datetime, policy: ConsensusPolicy) -> Status | None:
    """Promote, quarantine or take back a canary rule; the new state, or None when it was no canary any more.

    It is taken back when keys of its supporters were revoked so that it is not confirmed any more.
    """
    look = _look(db, pattern_hash, now, policy)
    if look.case.proposal.status is not Status.CANARY:
        return None
    if look.false_positives >= policy.quarantine_votes:
        quarantine(db, pattern_hash, look.false_positives, now, policy)
        return Status.QUARANTINED
    at = to_text(now)
    status = move(db, look.case, look.event, at)
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
            detail={"from": Status.CANARY, "to": status, "confirmations": look.case.standing.counted},
        )
    return status


def _look(db: Database, pattern_hash: str, now: datetime, policy: ConsensusPolicy) -> _Look:
    case = load_case(db, pattern_hash, policy)
    since = case.proposal.canary_since
    over = since is None or from_text(since) + timedelta(hours=policy.canary_hours) <= now
    return _Look(
        case,
        counted_false_positives(db, proposal_key(pattern_hash), policy),
        Event.CANARY_OVER if over else Event.TICK,
    )
