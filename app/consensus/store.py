"""The SQL of one proposal: its row, its votes with what is known of the voters, its variants."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from app.consensus.errors import UnknownProposal
from app.consensus.machine import CLOSED, Event, Status, after
from app.consensus.policy import ConsensusPolicy
from app.consensus.votes import Candidate, Gate, VoteCount, Voter, count_votes
from app.rules.store import RuleState, rule_of_pattern, set_state


@dataclass(frozen=True, slots=True)
class Proposal:
    """A pattern hash and where it stands; instants are texts.

    `confirmations` is the independent count while it was undecided; `reason` the last decision's or failure's.
    """

    pattern_hash: str
    status: Status
    confirmations: int
    approved_variant: str | None
    reason: str | None
    first_seen: str
    changed_at: str
    canary_since: str | None


@dataclass(frozen=True, slots=True)
class ProposalState:
    """A proposal with everything that decides about it, and the count of its votes."""

    proposal: Proposal
    votes: list[tuple[Voter, str]]
    candidates: list[Candidate]
    vote_count: VoteCount


PROPOSAL = (
    "pattern_hash, status, confirmations, approved_variant, reason, first_seen, changed_at, canary_since"
)


def proposal_of(row: tuple[str, ...]) -> Proposal:
    """Read the columns `PROPOSAL`."""
    pattern_hash, status, confirmations, approved, reason, first_seen, changed_at, canary_since = row
    return Proposal(
        pattern_hash,
        Status(status),
        int(confirmations),
        approved,
        reason,
        first_seen,
        changed_at,
        canary_since,
    )


def find_proposal(db: Database, pattern_hash: str) -> Proposal:
    """Raise `UnknownProposal`."""
    row = db.conn.execute(
        f"SELECT {PROPOSAL} FROM proposal WHERE pattern_hash = ?",
        [pattern_hash],
    ).fetchone()
    if row is None:
        raise UnknownProposal(f"No proposal has the pattern hash {pattern_hash}.")
    return proposal_of(row)


def votes_of(db: Database, pattern_hash: str) -> list[tuple[Voter, str]]:
    """Who voted, in order of time, and for which variant.

    What is known of a voter is what its key says. A voter is live while any key of it is not revoked.
    """
    rows = db.conn.execute(
        "SELECT c.subject, k.enrolled, k.address, c.address, k.site,"
        " EXISTS (SELECT 1 FROM key l WHERE l.subject = c.subject AND l.revoked_at IS NULL), c.variant"
        " FROM confirmation c LEFT JOIN key k ON k.id = c.key_id"
        " WHERE c.pattern_hash = ? ORDER BY c.at, c.rowid",
        [pattern_hash],
    )
    return [
        (Voter(subject, enrolled or "self", registered, voted, site, bool(live)), variant)
        for subject, enrolled, registered, voted, site, live, variant in rows
    ]


def due_proposals(db: Database) -> list[tuple[str, str]]:
    """Return pattern hash and status of what a promotion cycle has to do, the longest waiting first."""
    return db.conn.execute(
        "SELECT pattern_hash, status FROM proposal WHERE status IN ('confirmed', 'canary') ORDER BY changed_at"
    ).fetchall()


def undecided_proposals(db: Database, after: str, limit: int) -> list[str]:
    """Return the next pattern hashes, in their order, of proposals that votes still decide."""
    rows = db.conn.execute(
        "SELECT pattern_hash FROM proposal WHERE status IN ('draft', 'pending', 'confirmed') AND pattern_hash > ?"
        " ORDER BY pattern_hash LIMIT ?",
        [after, limit],
    )
    return [row[0] for row in rows]


def candidates_of(db: Database, pattern_hash: str) -> list[Candidate]:
    """Return the variants that the votes are for, and those that reviewers supplied."""
    rows = db.conn.execute(
        "SELECT digest, is_rule, gate, first_seen FROM variant WHERE pattern_hash = ?", [pattern_hash]
    )
    return [Candidate(digest, bool(is_rule), gate, first_seen) for digest, is_rule, gate, first_seen in rows]


def load_state(
    db: Database, pattern_hash: str, policy: ConsensusPolicy, *, approved: str | None = None
) -> ProposalState:
    """Return the proposal, counted now; `approved` puts a reviewer's choice in place of the recorded one.

    Raises `UnknownProposal`.
    """
    proposal = find_proposal(db, pattern_hash)
    votes = votes_of(db, pattern_hash)
    candidates = candidates_of(db, pattern_hash)
    chosen = approved or proposal.approved_variant
    return ProposalState(proposal, votes, candidates, count_votes(votes, candidates, chosen, policy))


def transition(
    db: Database,
    state: ProposalState,
    event: Event,
    at: str,
    *,
    reason: str | None = None,
    approved: str | None = None,
    staged: bool = False,
) -> Status:
    """Let `event` happen to the proposal and record what follows; returns the new state.

    `reason` is kept with it; without one, the old reason goes when the state changes. Raises `Refused`.
    """
    before = state.proposal
    status = after(before.status, event, state.vote_count.status, staged=staged)
    changed = status is not before.status
    db.conn.execute(
        "UPDATE proposal SET status = ?, confirmations = ?, approved_variant = ?, reason = ?, changed_at = ?,"
        " canary_since = ? WHERE pattern_hash = ?",
        [
            status,
            before.confirmations if status in CLOSED else state.vote_count.counted,
            approved or before.approved_variant,
            reason if reason is not None or changed else before.reason,
            at if changed else before.changed_at,
            (at if changed else before.canary_since) if status is Status.CANARY else None,
            before.pattern_hash,
        ],
    )
    return status


def retire(db: Database, pattern_hash: str, state: RuleState, reason: str, at: str) -> None:
    """Let the rule of a proposal follow it out of service."""
    rule = rule_of_pattern(db, pattern_hash)
    if rule is not None:
        set_state(db, origin=rule.origin, rule_id=rule.rule_id, state=state, reason=reason, at=at)


def keep_variant(
    db: Database,
    *,
    pattern_hash: str,
    digest: str,
    text: str,
    problems: str,
    at: str,
    gate: str = "waiting",
    supplied_by: str | None = None,
) -> None:
    """Replace (or add) the text of a variant; `problems` is a JSON list of sentences, `[]` for a rule."""
    db.conn.execute(
        "INSERT INTO variant (pattern_hash, digest, text, is_rule, problems, gate, supplied_by, first_seen)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET text = excluded.text,"
        " is_rule = excluded.is_rule, problems = excluded.problems, gate = excluded.gate,"
        " supplied_by = excluded.supplied_by",
        [pattern_hash, digest, text, problems == "[]", problems, gate, supplied_by, at],
    )


def variant_text(db: Database, pattern_hash: str, digest: str) -> str:
    """Raise `UnknownProposal` when the proposal has no such variant."""
    row = db.conn.execute(
        "SELECT text FROM variant WHERE pattern_hash = ? AND digest = ?", [pattern_hash, digest]
    ).fetchone()
    if row is None:
        raise UnknownProposal(f"The proposal {pattern_hash} has no variant {digest}.")
    text: str = row[0]
    return text


def note_gate(db: Database, pattern_hash: str, digest: str, text: str, problems: str) -> bool:
    """Record what the gate said of a variant's `text` (`[]`: passed); False when that is not its text any more."""
    gate = "passed" if problems == "[]" else "failed"
    changed = db.conn.execute(
        "UPDATE variant SET gate = ?, problems = ? WHERE pattern_hash = ? AND digest = ? AND text = ?",
        [gate, problems, pattern_hash, digest, text],
    ).rowcount
    return bool(changed)


def withdraw_approval(db: Database, pattern_hash: str, digest: str) -> None:
    """Let a reviewer's choice of this variant count no more."""
    db.conn.execute(
        "UPDATE proposal SET approved_variant = NULL WHERE pattern_hash = ? AND approved_variant = ?",
        [pattern_hash, digest],
    )


def reset_failed_gates(db: Database) -> None:
    """Give every variant that failed the gate another chance."""
    db.conn.execute("UPDATE variant SET gate = 'waiting', problems = '[]' WHERE gate = 'failed'")


def insert_proposal(db: Database, pattern_hash: str, status: Status, counted: int, at: str) -> bool:
    """Keep a proposal under a new pattern hash; False when the hash is known."""
    return bool(
        db.conn.execute(
            "INSERT INTO proposal (pattern_hash, status, confirmations, first_seen, changed_at)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [pattern_hash, status, counted, at, at],
        ).rowcount
    )


def insert_vote(
    db: Database,
    *,
    pattern_hash: str,
    subject: str,
    key_id: str,
    variant: str,
    address: str,
    client_id: str | None,
    llm_provider: str,
    llm_model: str,
    self_review_verdict: str,
    at: str,
) -> bool:
    """Keep the vote of an identity; False when it has voted for this hash before."""
    return bool(
        db.conn.execute(
            "INSERT INTO confirmation (pattern_hash, subject, key_id, variant, address, client_id,"
            " llm_provider, llm_model, self_review_verdict, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            [
                pattern_hash,
                subject,
                key_id,
                variant,
                address,
                client_id,
                llm_provider,
                llm_model,
                self_review_verdict,
                at,
            ],
        ).rowcount
    )


def find_variant(db: Database, pattern_hash: str, digest: str) -> tuple[bool, Gate, str] | None:
    """Return whether a variant's text is a rule, what the gate said of it, and the text; None when it is new."""
    row = db.conn.execute(
        "SELECT is_rule, gate, text FROM variant WHERE pattern_hash = ? AND digest = ?",
        [pattern_hash, digest],
    ).fetchone()
    return (bool(row[0]), row[1], row[2]) if row else None


def proposal_rows(
    db: Database, limit: int, after: Sequence[str] | None, status: Status | None, *, enough_votes: int | None
) -> list[tuple[Any, ...]]:
    """Return proposals, newest first, after the `(first_seen, pattern_hash)` of a page's last one.

    Columns: pattern hash, status, confirmations, reason, rule id, first seen, changed at. With `enough_votes` only
    those that have so many confirmations and need a reviewer.
    """
    clauses, values = list[str](), list[object]()
    if status is not None:
        clauses.append("p.status = ?")
        values.append(status)
    if enough_votes is not None:
        clauses.append("p.status IN ('draft', 'pending') AND p.confirmations >= ?")
        values.append(enough_votes)
    if after is not None:
        clauses.append("(p.first_seen, p.pattern_hash) < (?, ?)")
        values.extend(after)
    where = f"WHERE {' AND '.join(clauses)}" if clauses else ""
    return db.conn.execute(
        "SELECT p.pattern_hash, p.status, p.confirmations, p.reason, r.rule_id, p.first_seen, p.changed_at"
        f" FROM proposal p LEFT JOIN rule r ON r.pattern_hash = p.pattern_hash {where}"
        " ORDER BY p.first_seen DESC, p.pattern_hash DESC LIMIT ?",
        [*values, limit],
    ).fetchall()


def variant_rows(
    db: Database, pattern_hash: str, digests: Sequence[str]
) -> list[tuple[str, str, str, str | None]]:
    """Return `(digest, text, problems as JSON, who supplied it)` of these variants."""
    return db.conn.execute(
        "SELECT digest, text, problems, supplied_by FROM variant WHERE pattern_hash = ?"
        f" AND digest IN ({', '.join('?' * len(digests))})",
        [pattern_hash, *digests],
    ).fetchall()


def vote_rows(db: Database, pattern_hash: str) -> list[tuple[Any, ...]]:
    """Return every vote: subject, instant, address, client id, provider, model, verdict cut to 500 characters."""
    return db.conn.execute(
        "SELECT subject, at, address, client_id, llm_provider, llm_model, substr(self_review_verdict, 1, 500)"
        " FROM confirmation WHERE pattern_hash = ?",
        [pattern_hash],
    ).fetchall()


def count_by_status(db: Database) -> dict[str, int]:
    """Return how many proposals are in each state."""
    return dict(db.execute("SELECT status, count(*) FROM proposal GROUP BY status").fetchall())


def undecided_proposals_of(db: Database, subject: str) -> list[str]:
    """Return the pattern hashes of undecided proposals that an identity confirmed.

    One in canary is left out: the next promotion cycle counts it again.
    """
    rows = db.execute(
        "SELECT p.pattern_hash FROM confirmation c JOIN proposal p ON p.pattern_hash = c.pattern_hash"
        " WHERE c.subject = ? AND p.status IN ('draft', 'pending', 'confirmed')",
        [subject],
    )
    return [pattern_hash for (pattern_hash,) in rows]
