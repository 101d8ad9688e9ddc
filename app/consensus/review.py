"""What reviewers and admins decide: each decision and its audit entry are one write transaction."""

from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from app.access import audit_store
from app.access.principal import Actor
from app.consensus.errors import Refused
from app.consensus.feedback import dismiss_votes_on, proposal_key
from app.consensus.feedback_store import dismiss_votes
from app.consensus.machine import Event, Status, after
from app.consensus.policy import ConsensusPolicy
from app.consensus.store import ProposalState, keep_variant, load_state, note_gate, retire, transition
from app.consensus.votes import missing
from app.http.timestamps import to_text


@dataclass(frozen=True, slots=True)
class ReviewDecision:
    """Where a decision left a proposal, and what it waits for still."""

    pattern_hash: str
    status: Status
    confirmations: int
    missing: list[str]


def choosable(state: ProposalState) -> None:
    """Raise `Refused` when the proposal is decided, so that no text of it can be chosen."""
    after(state.proposal.status, Event.APPROVED, state.vote_count.status)


def choose(state: ProposalState, variant: str | None) -> str:
    """Return the variant that a reviewer means: the one named, else the only one that leads by counted supporters.

    Raises `Refused` when the proposal is decided, no text is a rule, or several lead.
    """
    choosable(state)
    if variant is not None:
        return variant
    texts = [candidate.digest for candidate in state.candidates if candidate.is_rule]
    if not texts:
        raise Refused(
            "None of the texts that were sent is a rule; supply one to approve it.",
            status=state.proposal.status,
        )
    most = max(state.vote_count.supporters.get(digest, 0) for digest in texts)
    leading = sorted(digest for digest in texts if state.vote_count.supporters.get(digest, 0) == most)
    if len(leading) > 1:
        raise Refused(
            f"{len(leading)} texts have the same support; name the one to approve as variant.",
            status=state.proposal.status,
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
) -> ReviewDecision:
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
) -> ReviewDecision:
    """Add a reviewer's text, which has just passed the gate, and choose it; it replaces one with its detection.

    Raises `Refused`, `UnknownProposal`.
    """
    choosable(load_state(db, pattern_hash, policy))
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


def reject(
    db: Database, pattern_hash: str, actor: Actor, reason: str, policy: ConsensusPolicy
) -> ReviewDecision:
    """Turn an undecided proposal down for good. Raises `Refused`, `UnknownProposal`."""
    return _decide(db, pattern_hash, Event.REJECTED, actor, reason, policy)


def withdraw(
    db: Database, pattern_hash: str, actor: Actor, reason: str, policy: ConsensusPolicy
) -> ReviewDecision:
    """Take a served (or quarantined) rule out of service for good. Raises `Refused`, `UnknownProposal`."""
    decision = _decide(db, pattern_hash, Event.WITHDRAWN, actor, reason, policy)
    retire(db, pattern_hash, "withdrawn", reason, to_text(actor.at))
    return decision


def reopen(
    db: Database, pattern_hash: str, actor: Actor, reason: str, policy: ConsensusPolicy
) -> ReviewDecision:
    """Revoke the decision against a proposal: its votes count again, old false-positive reports do not.

    An approval given before stays. Where nothing else is missing, the next cycle promotes it. Raises `Refused`,
    `UnknownProposal`.
    """
    decision = _decide(db, pattern_hash, Event.REOPENED, actor, reason, policy)
    dismiss_votes(db, proposal_key(pattern_hash))
    return decision


def dismiss_feedback(db: Database, rule: str, actor: Actor, reason: str) -> int:
    """Close the false-positive votes on a rule, which somebody has looked into. Raises `UnknownRule`."""
    dismissed = dismiss_votes_on(db, rule)
    audit_store.append(
        db,
        at=actor.at,
        actor=actor.name,
        action="feedback.settled",
        target=rule,
        detail={"reason": reason, "votes": dismissed},
        address=actor.address,
    )
    return dismissed


def _decide(
    db: Database,
    pattern_hash: str,
    event: Event,
    actor: Actor,
    reason: str | None,
    policy: ConsensusPolicy,
    approved: str | None = None,
) -> ReviewDecision:
    state = load_state(db, pattern_hash, policy, approved=approved)
    status = transition(db, state, event, to_text(actor.at), reason=reason, approved=approved)
    detail: dict[str, Any] = {"from": state.proposal.status, "to": status}
    detail |= {key: value for key, value in (("reason", reason), ("variant", approved)) if value is not None}
    audit_store.append(
        db,
        at=actor.at,
        actor=actor.name,
        action=f"proposal.{event.replace(' ', '-')}",
        target=pattern_hash,
        detail=detail,
        address=actor.address,
    )
    return ReviewDecision(
        pattern_hash,
        status,
        state.vote_count.counted,
        missing(state.vote_count, state.candidates, policy)
        if status in (Status.DRAFT, Status.PENDING)
        else [],
    )
