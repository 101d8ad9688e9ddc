"""Proposals as people see them: the list, one with its texts side by side, and why it stands where it does."""

from collections import Counter

import msgspec
from sqlite_utils import Database

from app.consensus.machine import OPEN, Status
from app.consensus.policy import ConsensusPolicy
from app.consensus.store import ProposalState, load_state, proposal_rows, variant_rows, vote_rows
from app.consensus.votes import missing
from app.http.paging import Page
from app.rules.store import rule_of_pattern

MAX_TEXTS = 20
"""Texts shown side by side: 5,000 Guards may send as many drafts of 64 KiB for one hash."""


class ProposalSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
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


class ProposalDetail(ProposalSummary, frozen=True, kw_only=True, rename="camel"):
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


class ProposalExplanation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
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
) -> list[ProposalSummary]:
    """Return one page, newest first; `waiting`: only those that have confirmations enough and need a reviewer."""
    rows = proposal_rows(
        db, page.limit + 1, page.after, status, enough_votes=policy.threshold if waiting else None
    )
    return [
        ProposalSummary(
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


def show_proposal(db: Database, pattern_hash: str, policy: ConsensusPolicy) -> ProposalDetail:
    """Return a whole proposal with its texts; raise `UnknownProposal`."""
    state = load_state(db, pattern_hash, policy)
    proposal, counted = state.proposal, state.vote_count.supporters
    everybody = Counter(variant for _, variant in state.votes)
    best = sorted(
        state.candidates,
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
        for digest, text, problems, supplied_by in variant_rows(
            db, pattern_hash, [candidate.digest for candidate in best]
        )
    }
    rule = rule_of_pattern(db, pattern_hash)
    return ProposalDetail(
        pattern_hash=pattern_hash,
        status=proposal.status,
        confirmations=_confirmations(state),
        required=policy.threshold,
        reason=proposal.reason,
        rule_id=rule.rule_id if rule else None,
        first_seen=proposal.first_seen,
        changed_at=proposal.changed_at,
        approved_variant=proposal.approved_variant,
        canary_since=proposal.canary_since,
        missing=_missing(state, policy),
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
        variants_total=len(state.candidates),
    )


def explain(db: Database, pattern_hash: str, policy: ConsensusPolicy) -> ProposalExplanation:
    """Return why a proposal stands where it stands; raise `UnknownProposal`."""
    state = load_state(db, pattern_hash, policy)
    return ProposalExplanation(
        pattern_hash=pattern_hash,
        status=state.proposal.status,
        confirmations=_confirmations(state),
        required=policy.threshold,
        content_quorum=policy.content_quorum,
        reason=state.proposal.reason,
        missing=_missing(state, policy),
        votes=_votes(db, state),
    )


def _votes(db: Database, state: ProposalState) -> list[ShownVote]:
    rows = {row[0]: row for row in vote_rows(db, state.proposal.pattern_hash)}
    shown = []
    for (voter, variant), verdict in zip(state.votes, state.vote_count.verdicts, strict=True):
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


def _confirmations(state: ProposalState) -> int:
    """Return the present count of an undecided proposal, else the count that decided."""
    return state.vote_count.counted if state.proposal.status in OPEN else state.proposal.confirmations


def _missing(state: ProposalState, policy: ConsensusPolicy) -> list[str]:
    return missing(state.vote_count, state.candidates, policy) if state.proposal.status in OPEN else []
