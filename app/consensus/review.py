"""What reviewers and admins decide: each decision and its audit entry are one write transaction."""

from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from app.access import audit
from app.access.principal import Actor
from app.consensus.errors import Refused
from app.consensus.feedback import proposal_key, settle, settle_rule
from app.consensus.machine import Event, after
from app.consensus.policy import ConsensusPolicy
from app.consensus.standing import missing
from app.consensus.states import Status
from app.consensus.store import Case, keep_variant, load_case, move, note_gate, retire
from app.http.timestamps import to_text


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a decision left a proposal, and what it waits for still."""

    pattern_hash: str
    status: Status
    confirmations: int
    missing: list[str]


def choosable(case: Case) -> None:
    """Raise `Refused` when the proposal is decided, so that no text of it can be chosen."""
    after(case.proposal.status, Event.APPROVED, case.standing.status)


def choose(case: Case, variant: str | None) -> str:
    """The variant that a reviewer means: the one named, else the only one that leads by counted supporters.

    Raises `Refused` when the proposal is decided, no text is a rule, or several lead.
    """
    choosable(case)
    if variant is not None:
        return variant
    texts = [candidate.digest for candidate in case.candidates if candidate.is_rule]
    if not texts:
        raise Refused(
            "None of the texts that were sent is a rule; supply one to approve it.",
            status=case.proposal.status,
        )
    most = max(case.standing.supporters.get(digest, 0) for digest in texts)
    leading = sorted(digest for digest in texts if case.standing.supporters.get(digest, 0) == most)
    if len(leading) > 1:
        raise Refused(
            f"{len(leading)} texts have the same support; name the one to approve as variant.",
            status=case.proposal.status,
            reasons=tuple(leading),
        )
    return leading[0]


def approve(
    db: Database,
    pattern_hash: str,
    variant: str,
    text: str,
    actor: Actor,
    reason: str | None,
    policy: ConsensusPolicy,
) -> Decision:
    """Choose a variant whose `text` has just passed the gate.

    That waives the content quorum, never the threshold. Raises `Refused`, `UnknownProposal`.
    """
    if not note_gate(db, pattern_hash, variant, text, "[]"):
        raise Refused("Its text was replaced while it was checked; look at it again.")
    return _decide(db, pattern_hash, Event.APPROVED, actor, reason, policy, approved=variant)


def supply_text(
    db: Database,
    pattern_hash: str,
    variant: str,
    text: str,
    actor: Actor,
    reason: str | None,
    policy: ConsensusPolicy,
) -> Decision:
    """Add a reviewer's text, which has just passed the gate, and choose it; it replaces one with its detection.

    Raises `Refused`, `UnknownProposal`.
    """
    choosable(load_case(db, pattern_hash, policy))
    keep_variant(
        db,
        pattern_hash=pattern_hash,
        digest=variant,
        text=text,
        problems="[]",
        at=to_text(actor.at),
        gate="passed",
        supplied_by=actor.name,
    )
    return _decide(db, pattern_hash, Event.TEXT_SUPPLIED, actor, reason, policy, approved=variant)


def reject(db: Database, pattern_hash: str, actor: Actor, reason: str, policy: ConsensusPolicy) -> Decision:
    """Turn an undecided proposal down for good. Raises `Refused`, `UnknownProposal`."""
    return _decide(db, pattern_hash, Event.REJECTED, actor, reason, policy)


def withdraw(db: Database, pattern_hash: str, actor: Actor, reason: str, policy: ConsensusPolicy) -> Decision:
    """Take a served (or quarantined) rule out of service for good. Raises `Refused`, `UnknownProposal`."""
    decision = _decide(db, pattern_hash, Event.WITHDRAWN, actor, reason, policy)
    retire(db, pattern_hash, "withdrawn", reason, to_text(actor.at))
    return decision


def reopen(db: Database, pattern_hash: str, actor: Actor, reason: str, policy: ConsensusPolicy) -> Decision:
    """Revoke the decision against a proposal: its votes count again, old false-positive reports do not.

    An approval given before stays. Where nothing else is missing, the next cycle promotes it. Raises `Refused`,
    `UnknownProposal`.
    """
    decision = _decide(db, pattern_hash, Event.REOPENED, actor, reason, policy)
    settle(db, proposal_key(pattern_hash))
    return decision


def settle_feedback(db: Database, rule: str, actor: Actor, reason: str) -> int:
    """Close the false-positive votes on a rule, which somebody has looked into. Raises `UnknownRule`."""
    settled = settle_rule(db, rule)
    audit.append(
        db,
        at=actor.at,
        actor=actor.name,
        action="feedback.settled",
        target=rule,
        detail={"reason": reason, "votes": settled},
        address=actor.address,
    )
    return settled


def _decide(
    db: Database,
    pattern_hash: str,
    event: Event,
    actor: Actor,
    reason: str | None,
    policy: ConsensusPolicy,
    approved: str | None = None,
) -> Decision:
    case = load_case(db, pattern_hash, policy, approved=approved)
    status = move(db, case, event, to_text(actor.at), reason=reason, approved=approved)
    detail: dict[str, Any] = {"from": case.proposal.status, "to": status}
    detail |= {key: value for key, value in (("reason", reason), ("variant", approved)) if value is not None}
    audit.append(
        db,
        at=actor.at,
        actor=actor.name,
        action=f"proposal.{event.replace(' ', '-')}",
        target=pattern_hash,
        detail=detail,
        address=actor.address,
    )
    return Decision(
        pattern_hash,
        status,
        case.standing.counted,
        missing(case.standing, case.candidates, policy) if status in (Status.DRAFT, Status.PENDING) else [],
    )
