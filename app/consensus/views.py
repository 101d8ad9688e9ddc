"""Proposals as people see them: the list, one with its texts side by side, and why it stands where it does."""

from collections import Counter
from typing import Any

import msgspec
from sqlite_utils import Database

from app.consensus.policy import ConsensusPolicy
from app.consensus.standing import missing
from app.consensus.states import OPEN, Status
from app.consensus.store import Case, load_case
from app.http.paging import Page
from app.rules.store import rule_of_pattern

MAX_TEXTS = 20
"""Texts shown side by side: 5,000 Guards may send as many drafts of 64 KiB for one hash."""


class Listed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A proposal in the list; `confirmations` are the independent ones, instants are texts."""

    pattern_hash: str
    status: str
    confirmations: int
    required: int
    reason: str | None
    rule_id: str | None
    first_seen: str
    changed_at: str


class ShownVariant(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One of the texts of a proposal.

    `supporters` sent this detection, `counted` of them independently; `problems` are what keeps it from being a
    rule, or what the gate said.
    """

    variant: str
    supporters: int
    counted: int
    is_rule: bool
    gate: str
    problems: list[str]
    approved: bool
    supplied_by: str | None
    first_seen: str
    rule_content: str


class Shown(Listed, frozen=True, kw_only=True, rename="camel"):
    """A whole proposal; `variants` are at most `MAX_TEXTS` of `variants_total`, the best supported rules first."""

    approved_variant: str | None
    canary_since: str | None
    missing: list[str]
    variants: list[ShownVariant]
    variants_total: int


class ShownVote(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One confirmation, and whether it counts; `self_review_verdict` is cut to 500 characters."""

    subject: str
    at: str
    address: str
    client_id: str | None
    variant: str
    llm_provider: str
    llm_model: str
    self_review_verdict: str
    counted: bool
    reason: str


class Why(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Why a proposal stands where it stands: every confirmation in order of time, and what is missing."""

    pattern_hash: str
    status: str
    confirmations: int
    required: int
    content_quorum: int
    reason: str | None
    missing: list[str]
    votes: list[ShownVote]


def list_proposals(
    db: Database, page: Page, policy: ConsensusPolicy, *, status: Status | None, waiting: bool
) -> list[Listed]:
    """One page, newest first; `waiting`: only those that have confirmations enough and need a reviewer."""
    clauses, values = list[str](), list[object]()
    if status is not None:
        clauses.append("p.status = ?")
        values.append(status)
    if waiting:
        clauses.append("p.status IN ('draft', 'pending') AND p.confirmations >= ?")
        values.append(policy.threshold)
    if page.after is not None:
        clauses.append("(p.first_seen, p.pattern_hash) < (?, ?)")
        values.extend(page.after)
    where = f"WHERE {' AND '.join(clauses)}" if clauses else ""
    rows = db.conn.execute(
        "SELECT p.pattern_hash, p.status, p.confirmations, p.reason, r.rule_id, p.first_seen, p.changed_at"  # noqa: S608 (the clauses are ours)
        f" FROM proposal p LEFT JOIN rule r ON r.pattern_hash = p.pattern_hash {where}"
        " ORDER BY p.first_seen DESC, p.pattern_hash DESC LIMIT ?",
        [*values, page.limit + 1],
    )
    return [
        Listed(
            pattern_hash=pattern_hash,
            status=state,
            confirmations=confirmations,
            required=policy.threshold,
            reason=reason,
            rule_id=rule_id,
            first_seen=first_seen,
            changed_at=changed_at,
        )
        for pattern_hash, state, confirmations, reason, rule_id, first_seen, changed_at in rows
    ]


def show_proposal(db: Database, pattern_hash: str, policy: ConsensusPolicy) -> Shown:
    """Raises `UnknownProposal`."""
    case = load_case(db, pattern_hash, policy)
    proposal, counted = case.proposal, case.standing.supporters
    everybody = Counter(variant for _, variant in case.votes)
    best = sorted(
        case.candidates,
        key=lambda c: (
            c.digest != proposal.approved_variant,
            not c.is_rule,
            -counted.get(c.digest, 0),
            c.first_seen,
            c.digest,
        ),
    )[:MAX_TEXTS]
    texts = {
        digest: (text, msgspec.json.decode(problems, type=list[str]), supplied_by)
        for digest, text, problems, supplied_by in db.conn.execute(
            "SELECT digest, text, problems, supplied_by FROM variant WHERE pattern_hash = ?"  # noqa: S608 (marks only)
            f" AND digest IN ({', '.join('?' * len(best))})",
            [pattern_hash, *(candidate.digest for candidate in best)],
        )
    }
    rule = rule_of_pattern(db, pattern_hash)
    return Shown(
        pattern_hash=pattern_hash,
        status=proposal.status,
        confirmations=_confirmations(case),
        required=policy.threshold,
        reason=proposal.reason,
        rule_id=rule.rule_id if rule else None,
        first_seen=proposal.first_seen,
        changed_at=proposal.changed_at,
        approved_variant=proposal.approved_variant,
        canary_since=proposal.canary_since,
        missing=_missing(case, policy),
        variants=[
            ShownVariant(
                variant=candidate.digest,
                supporters=everybody[candidate.digest],
                counted=counted.get(candidate.digest, 0),
                is_rule=candidate.is_rule,
                gate=candidate.gate,
                problems=texts[candidate.digest][1],
                approved=candidate.digest == proposal.approved_variant,
                supplied_by=texts[candidate.digest][2],
                first_seen=candidate.first_seen,
                rule_content=texts[candidate.digest][0],
            )
            for candidate in best
        ],
        variants_total=len(case.candidates),
    )


def explain(db: Database, pattern_hash: str, policy: ConsensusPolicy) -> Why:
    """Raises `UnknownProposal`."""
    case = load_case(db, pattern_hash, policy)
    return Why(
        pattern_hash=pattern_hash,
        status=case.proposal.status,
        confirmations=_confirmations(case),
        required=policy.threshold,
        content_quorum=policy.content_quorum,
        reason=case.proposal.reason,
        missing=_missing(case, policy),
        votes=_votes(db, case),
    )


def _votes(db: Database, case: Case) -> list[ShownVote]:
    rows: dict[str, tuple[Any, ...]] = {
        row[0]: row
        for row in db.conn.execute(
            "SELECT subject, at, address, client_id, llm_provider, llm_model, substr(self_review_verdict, 1, 500)"
            " FROM confirmation WHERE pattern_hash = ?",
            [case.proposal.pattern_hash],
        )
    }
    shown = []
    for (voter, variant), verdict in zip(case.votes, case.standing.verdicts, strict=True):
        subject, at, address, client_id, provider, model, review = rows[voter.subject]
        shown.append(
            ShownVote(
                subject=subject,
                at=at,
                address=address,
                client_id=client_id,
                variant=variant,
                llm_provider=provider,
                llm_model=model,
                self_review_verdict=review,
                counted=verdict.counted,
                reason=verdict.reason,
            )
        )
    return shown


def _confirmations(case: Case) -> int:
    """While undecided the count of now; after that the one that decided."""
    return case.standing.counted if case.proposal.status in OPEN else case.proposal.confirmations


def _missing(case: Case, policy: ConsensusPolicy) -> list[str]:
    return missing(case.standing, case.candidates, policy) if case.proposal.status in OPEN else []
