"""One identity's confirmation, recorded and counted in one write transaction."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec
from sqlite_utils import Database

from app.consensus.independence import Voter
from app.consensus.machine import Event
from app.consensus.policy import ConsensusPolicy
from app.consensus.reading import Reading
from app.consensus.standing import Candidate, standing
from app.consensus.states import OPEN, Status
from app.consensus.store import find_proposal, keep_variant, load_case, move

ALWAYS_RECOUNTED = 100
"""Up to here each vote is counted at once. Beyond, one whose text cannot be promoted is only recorded: it decides
nothing, and a fleet of 5,000 Guards that send the same draft would otherwise cost quadratic time."""


class Outcome(StrEnum):
    """What became of a submission, in the public server's words."""

    SUBMITTED = "Proposal submitted"
    CONFIRMED = "Proposal confirmed"
    ALREADY = "Already submitted"


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission as received, its text already read, its sender already known."""

    pattern_hash: str
    text: str
    reading: Reading
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

    outcome: Outcome
    status: Status
    confirmations: int


def record(db: Database, sent: Submission, at: str, policy: ConsensusPolicy) -> Receipt:
    """Keep a submission and say what it changed.

    An identity confirms a hash at most once, ever: a second time nothing is kept, whatever the text. A vote that
    arrives after the decision is kept and changes nothing. Three statements for a new proposal, seven for a
    confirmation.
    """
    execute = db.conn.execute
    own = Candidate(sent.reading.variant, not sent.reading.problems, "waiting", at)
    first = standing([(sent.voter, own.digest)], [own], None, policy)
    is_new = execute(
        "INSERT INTO proposal (pattern_hash, status, confirmations, first_seen, changed_at)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [sent.pattern_hash, first.status, first.counted, at, at],
    ).rowcount
    if is_new:
        _keep_vote(db, sent, at)
        _keep_text(db, sent, at)
        return Receipt(Outcome.SUBMITTED, first.status, first.counted)
    if not _keep_vote(db, sent, at):
        known = find_proposal(db, sent.pattern_hash)
        return Receipt(Outcome.ALREADY, known.status, known.confirmations)
    promotable = _merge_text(db, sent, at)
    known = find_proposal(db, sent.pattern_hash)
    if known.status not in OPEN or (known.confirmations >= ALWAYS_RECOUNTED and not promotable):
        return Receipt(Outcome.CONFIRMED, known.status, known.confirmations)
    case = load_case(db, sent.pattern_hash, policy)
    status = move(db, case, Event.SUBMITTED, at)
    return Receipt(Outcome.CONFIRMED, status, case.standing.counted)


def _keep_vote(db: Database, sent: Submission, at: str) -> bool:
    return bool(
        db.conn.execute(
            "INSERT INTO confirmation (pattern_hash, subject, key_id, variant, address, client_id,"
            " llm_provider, llm_model, self_review_verdict, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            [
                sent.pattern_hash,
                sent.voter.subject,
                sent.key_id,
                sent.reading.variant,
                sent.address,
                sent.client_id,
                sent.llm_provider,
                sent.llm_model,
                sent.self_review_verdict,
                at,
            ],
        ).rowcount
    )


def _merge_text(db: Database, sent: Submission, at: str) -> bool:
    """Let the text join its variant; True when that variant may be promoted.

    The variant keeps its first text, unless that is no rule or failed the gate and this one is a rule: nobody owns
    a detection by sending it first with something broken around it.
    """
    row = db.conn.execute(
        "SELECT is_rule, gate, text FROM variant WHERE pattern_hash = ? AND digest = ?",
        [sent.pattern_hash, sent.reading.variant],
    ).fetchone()
    if row is None:
        _keep_text(db, sent, at)
        return not sent.reading.problems
    is_rule, gate, text = row
    if is_rule and gate != "failed":
        return True
    if sent.reading.problems or sent.text == text:
        return False
    _keep_text(db, sent, at)
    return True


def _keep_text(db: Database, sent: Submission, at: str) -> None:
    keep_variant(
        db,
        pattern_hash=sent.pattern_hash,
        digest=sent.reading.variant,
        text=sent.text,
        problems=msgspec.json.encode(sent.reading.problems).decode(),
        at=at,
    )
