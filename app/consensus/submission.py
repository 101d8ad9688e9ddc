"""One identity's confirmation, recorded and counted in one write transaction."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec
from sqlite_utils import Database

from app.consensus.machine import OPEN, Event, Status
from app.consensus.parsing import ParsedRule
from app.consensus.policy import ConsensusPolicy
from app.consensus.store import (
    find_proposal,
    find_variant,
    insert_proposal,
    insert_vote,
    keep_variant,
    load_state,
    transition,
)
from app.consensus.votes import Candidate, Voter, count_votes

ALWAYS_RECOUNTED = 100
"""Up to here each vote is counted at once. Beyond, one whose text cannot be promoted is only recorded: it decides
nothing, and a fleet of 5,000 Guards that send the same draft would otherwise cost quadratic time."""


class SubmissionOutcome(StrEnum):
    """What became of a submission, in the public server's words."""

    SUBMITTED = "Proposal submitted"
    CONFIRMED = "Proposal confirmed"
    ALREADY = "Already submitted"


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission as received, its text already read, its sender already known."""

    pattern_hash: str
    text: str
    parsed: ParsedRule
    voter: Voter
    key_id: str
    address: str
    client_id: str | None
    llm_provider: str
    llm_model: str
    self_review_verdict: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The state that a submission left its proposal in; `confirmations` are the independent ones."""

    outcome: SubmissionOutcome
    status: Status
    confirmations: int


def record(db: Database, sent: Submission, at: str, policy: ConsensusPolicy) -> Receipt:
    """Keep a submission and say what it changed.

    An identity confirms a hash at most once, ever: a second time nothing is kept, whatever the text. A vote that
    arrives after the decision is kept and changes nothing. Three statements for a new proposal, seven for a
    confirmation.
    """
    own = Candidate(sent.parsed.variant, not sent.parsed.problems, "waiting", at)
    first = count_votes([(sent.voter, own.digest)], [own], None, policy)
    is_new = insert_proposal(db, sent.pattern_hash, first.status, first.counted, at)
    if is_new:
        _keep_vote(db, sent, at)
        _keep_text(db, sent, at)
        return Receipt(SubmissionOutcome.SUBMITTED, first.status, first.counted)
    if not _keep_vote(db, sent, at):
        known = find_proposal(db, sent.pattern_hash)
        return Receipt(SubmissionOutcome.ALREADY, known.status, known.confirmations)
    promotable = _merge_text(db, sent, at)
    known = find_proposal(db, sent.pattern_hash)
    if known.status not in OPEN or (known.confirmations >= ALWAYS_RECOUNTED and not promotable):
        return Receipt(SubmissionOutcome.CONFIRMED, known.status, known.confirmations)
    state = load_state(db, sent.pattern_hash, policy)
    status = transition(db, state, Event.SUBMITTED, at)
    return Receipt(SubmissionOutcome.CONFIRMED, status, state.vote_count.counted)


def _keep_vote(db: Database, sent: Submission, at: str) -> bool:
    return insert_vote(
        db,
        pattern_hash=sent.pattern_hash,
        subject=sent.voter.subject,
        key_id=sent.key_id,
        variant=sent.parsed.variant,
        address=sent.address,
        client_id=sent.client_id,
        llm_provider=sent.llm_provider,
        llm_model=sent.llm_model,
        self_review_verdict=sent.self_review_verdict,
        at=at,
    )


def _merge_text(db: Database, sent: Submission, at: str) -> bool:
    """Let the text join its variant; True when that variant may be promoted.

    The variant keeps its first text, unless that is no rule or failed the gate and this one is a rule: nobody owns
    a detection by sending it first with something broken around it.
    """
    known = find_variant(db, sent.pattern_hash, sent.parsed.variant)
    if known is None:
        _keep_text(db, sent, at)
        return not sent.parsed.problems
    is_rule, gate, text = known
    if is_rule and gate != "failed":
        return True
    if sent.parsed.problems or sent.text == text:
        return False
    _keep_text(db, sent, at)
    return True


def _keep_text(db: Database, sent: Submission, at: str) -> None:
    keep_variant(
        db,
        pattern_hash=sent.pattern_hash,
        digest=sent.parsed.variant,
        text=sent.text,
        problems=msgspec.json.encode(sent.parsed.problems).decode(),
        at=at,
    )
