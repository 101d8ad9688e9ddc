"""The SQL of one proposal: its row, its votes with what is known of the voters, its variants."""

from dataclasses import dataclass

from sqlite_utils import Database

from app.consensus.errors import UnknownProposal
from app.consensus.independence import Voter
from app.consensus.machine import Event, after
from app.consensus.policy import ConsensusPolicy
from app.consensus.standing import Candidate, Standing, standing
from app.consensus.states import CLOSED, Status
from app.rules.store import State, rule_of_pattern, set_state


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
class Case:
    """A proposal with all that decides about it, and the standing that follows."""

    proposal: Proposal
    votes: list[tuple[Voter, str]]
    candidates: list[Candidate]
    standing: Standing


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
    """Raises `UnknownProposal`."""
    row = db.conn.execute(
        f"SELECT {PROPOSAL} FROM proposal WHERE pattern_hash = ?",
        [pattern_hash],
    ).fetchone()
    if row is None:
        raise UnknownProposal(f"No proposal has the pattern hash {pattern_hash}.")
    return proposal_of(row)


def votes_of(db: Database, pattern_hash: str) -> list[tuple[Voter, str]]:
    """Who voted, in order of time, and for which variant.

    What is known of a voter is what the key says that it voted with; live is whoever has any key left that is not
    revoked.
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


def candidates_of(db: Database, pattern_hash: str) -> list[Candidate]:
    """The variants that the votes are for, and those that reviewers supplied."""
    rows = db.conn.execute(
        "SELECT digest, is_rule, gate, first_seen FROM variant WHERE pattern_hash = ?", [pattern_hash]
    )
    return [Candidate(digest, bool(is_rule), gate, first_seen) for digest, is_rule, gate, first_seen in rows]


def load_case(
    db: Database, pattern_hash: str, policy: ConsensusPolicy, *, approved: str | None = None
) -> Case:
    """The proposal, counted now; `approved` puts a reviewer's choice in place of the recorded one.

    Raises `UnknownProposal`.
    """
    proposal = find_proposal(db, pattern_hash)
    votes = votes_of(db, pattern_hash)
    candidates = candidates_of(db, pattern_hash)
    chosen = approved or proposal.approved_variant
    return Case(proposal, votes, candidates, standing(votes, candidates, chosen, policy))


def move(
    db: Database,
    case: Case,
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
    before = case.proposal
    status = after(before.status, event, case.standing.status, staged=staged)
    changed = status is not before.status
    db.conn.execute(
        "UPDATE proposal SET status = ?, confirmations = ?, approved_variant = ?, reason = ?, changed_at = ?,"
        " canary_since = ? WHERE pattern_hash = ?",
        [
            status,
            before.confirmations if status in CLOSED else case.standing.counted,
            approved or before.approved_variant,
            reason if reason is not None or changed else before.reason,
            at if changed else before.changed_at,
            (at if changed else before.canary_since) if status is Status.CANARY else None,
            before.pattern_hash,
        ],
    )
    return status


def retire(db: Database, pattern_hash: str, state: State, reason: str, at: str) -> None:
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
    """Raises `UnknownProposal` when the proposal has no such variant."""
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
