"""Consensus over HTTP: proposals, what reviewers decide of them, feedback on served rules."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import get, patch, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromQuery, HeaderParameter, PathParameter, QueryParameter
from msgspec import Meta

from app.access.principal import Actor, Principal, Role
from app.access.route_guards import require
from app.consensus.errors import ConsensusError, Refused, UnusableText
from app.consensus.feedback import ContestedRule
from app.consensus.machine import Status
from app.consensus.promotion import CycleReport
from app.consensus.review import ReviewDecision
from app.consensus.service import Consensus
from app.consensus.submission import SubmissionOutcome
from app.consensus.views import ProposalDetail, ProposalExplanation, ProposalSummary
from app.http.envelope import Answer
from app.http.paging import Page, page_of_rows, paged
from app.http.problem import Problem, bad_request, conflict, not_found
from app.http.requests import JsonBody

MAX_RULE_CHARACTERS = 65_536
MAX_CLIENT_ID = 128

PatternHash = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z")]
PathHash = Annotated[str, PathParameter(schema_extra={"pattern": r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"})]
"""Described, not checked: a hash of another form is one that no proposal has."""
Reason = Annotated[str, Meta(min_length=1, max_length=2000)]
Model = Annotated[str, Meta(min_length=1, max_length=128)]
RuleContent = Annotated[str, Meta(min_length=1)]

_agents = [require(Role.AGENT)]
_reviewers = [require(Role.REVIEWER, Role.ADMIN)]
_admins = [require(Role.ADMIN)]


class NewProposal(msgspec.Struct, rename="camel"):
    """The body of `POST /api/atr-proposals`, as every stock client sends it."""

    pattern_hash: PatternHash
    rule_content: RuleContent
    llm_provider: Model
    llm_model: Model
    self_review_verdict: Annotated[str, Meta(min_length=1, max_length=16_384)]


class Approval(msgspec.Struct):
    """The body of an approval; without a variant, the best supported text is meant."""

    variant: str | None = None
    reason: Reason | None = None


class WithReason(msgspec.Struct):
    """The body of a decision that needs a reason."""

    reason: Reason


class SuppliedText(msgspec.Struct, rename="camel"):
    """The body of `POST .../text`."""

    rule_content: RuleContent
    reason: Reason | None = None


class Action(msgspec.Struct, rename="camel"):
    """The body of `PATCH /api/atr-proposals`, as the public server has it, and a reason."""

    pattern_hash: PatternHash
    action: Literal["approve", "reject"]
    reason: Reason | None = None


class Feedback(msgspec.Struct, rename="camel"):
    """The body of `POST /api/atr-feedback` and `/api/rule-feedback`; `rule_id` may be a pattern hash too."""

    rule_id: Annotated[str, Meta(min_length=1, max_length=256)]
    is_true_positive: bool


class FeedbackDismissal(msgspec.Struct, rename="camel"):
    """The body of `POST /api/atr-feedback/settle`."""

    rule_id: Annotated[str, Meta(min_length=1, max_length=256)]
    reason: Reason


class ProposalReceipt(msgspec.Struct, rename="camel", omit_defaults=True):
    """What became of a proposal; `reasons` keep a draft from being a rule."""

    message: SubmissionOutcome
    pattern_hash: str
    status: Status
    confirmations: int
    required: int
    reasons: list[str] | msgspec.UnsetType = msgspec.UNSET


class DecidedProposal(msgspec.Struct, rename="camel"):
    """Where a decision left a proposal, and what it waits for still."""

    message: str
    pattern_hash: str
    status: Status
    confirmations: int
    required: int
    missing: list[str]


class FeedbackReceipt(msgspec.Struct):
    """What a vote did to its rule."""

    message: str
    quarantined: bool
    flagged: bool


class DismissedFeedback(msgspec.Struct, rename="camel"):
    """How many votes count no more."""

    message: str
    rule_id: str
    settled: int


@post(
    "/api/atr-proposals",
    guards=_agents,
    responses={200: ResponseSpec(ProposalReceipt, generate_examples=False)},
)
async def propose(
    consensus: NamedDependency[Consensus],
    data: JsonBody[NewProposal],
    principal: NamedDependency[Principal],
    now: NamedDependency[datetime],
    client_id: Annotated[str | None, HeaderParameter(name="X-Panguard-Client-Id")] = None,
) -> Answer[ProposalReceipt]:
    """Propose a pattern, or confirm one that is known: 201 or 200."""
    _check_size(data.rule_content)
    receipt, reading = await consensus.submit(
        principal,
        pattern_hash=data.pattern_hash,
        text=data.rule_content,
        llm_provider=data.llm_provider,
        llm_model=data.llm_model,
        self_review_verdict=data.self_review_verdict,
        client_id=client_id[:MAX_CLIENT_ID] if client_id else None,
        now=now,
    )
    shown = ProposalReceipt(
        message=receipt.outcome,
        pattern_hash=data.pattern_hash,
        status=receipt.status,
        confirmations=receipt.confirmations,
        required=consensus.policy.threshold,
        reasons=list(reading.problems) if receipt.status is Status.DRAFT else msgspec.UNSET,
    )
    return Answer(shown, status_code=201 if receipt.outcome is SubmissionOutcome.SUBMITTED else 200)


@get("/api/atr-proposals", guards=_reviewers, dependencies=paged(2))
async def list_proposals(
    consensus: NamedDependency[Consensus],
    page: NamedDependency[Page],
    status: FromQuery[Status | None] = None,
    waiting_for: Annotated[Literal["reviewer"] | None, QueryParameter(name="waitingFor")] = None,
) -> Answer[list[ProposalSummary]]:
    """Proposals, newest first; `status=` one state, `waitingFor=reviewer` what only lacks a text or a choice."""
    rows = await consensus.list_proposals(page, status=status, waiting=waiting_for is not None)
    return page_of_rows(rows, page, lambda row: (row.first_seen, row.pattern_hash))


@get("/api/atr-proposals/{pattern_hash:str}", guards=_reviewers)
async def show_proposal(consensus: NamedDependency[Consensus], pattern_hash: PathHash) -> ProposalDetail:
    """One proposal, its texts side by side."""
    return await consensus.show(pattern_hash)


@get("/api/atr-proposals/{pattern_hash:str}/why", guards=_reviewers)
async def explain_proposal(
    consensus: NamedDependency[Consensus], pattern_hash: PathHash
) -> ProposalExplanation:
    """Each confirmation, counted or not and why, and what is missing still."""
    return await consensus.why(pattern_hash)


@post("/api/atr-proposals/{pattern_hash:str}/approve", guards=_reviewers, status_code=200)
async def approve_proposal(
    consensus: NamedDependency[Consensus],
    pattern_hash: PathHash,
    data: JsonBody[Approval],
    actor: NamedDependency[Actor],
) -> DecidedProposal:
    """Choose one of the texts."""
    decision = await consensus.approve(pattern_hash, data.variant, actor, data.reason)
    return _decided("Proposal approved", decision, consensus)


@post("/api/atr-proposals/{pattern_hash:str}/reject", guards=_reviewers, status_code=200)
async def reject_proposal(
    consensus: NamedDependency[Consensus],
    pattern_hash: PathHash,
    data: JsonBody[WithReason],
    actor: NamedDependency[Actor],
) -> DecidedProposal:
    """Turn an undecided proposal down."""
    decision = await consensus.reject(pattern_hash, actor, data.reason)
    return _decided("Proposal rejected", decision, consensus)


@post("/api/atr-proposals/{pattern_hash:str}/text", guards=_reviewers, status_code=200)
async def supply_text(
    consensus: NamedDependency[Consensus],
    pattern_hash: PathHash,
    data: JsonBody[SuppliedText],
    actor: NamedDependency[Actor],
) -> DecidedProposal:
    """Give a proposal a text, which is thereby chosen."""
    _check_size(data.rule_content)
    decision = await consensus.supply_text(pattern_hash, data.rule_content, actor, data.reason)
    return _decided("Text supplied and approved", decision, consensus)


@post("/api/atr-proposals/{pattern_hash:str}/withdraw", guards=_reviewers, status_code=200)
async def withdraw_proposal(
    consensus: NamedDependency[Consensus],
    pattern_hash: PathHash,
    data: JsonBody[WithReason],
    actor: NamedDependency[Actor],
) -> DecidedProposal:
    """Take a promoted rule out of service."""
    decision = await consensus.withdraw(pattern_hash, actor, data.reason)
    return _decided("Rule withdrawn", decision, consensus)


@post("/api/atr-proposals/{pattern_hash:str}/reopen", guards=_admins, status_code=200)
async def reopen_proposal(
    consensus: NamedDependency[Consensus],
    pattern_hash: PathHash,
    data: JsonBody[WithReason],
    actor: NamedDependency[Actor],
) -> DecidedProposal:
    """Revoke the decision against a proposal."""
    decision = await consensus.reopen(pattern_hash, actor, data.reason)
    return _decided("Proposal reopened", decision, consensus)


@patch("/api/atr-proposals", guards=_reviewers)
async def act_on_proposal(
    consensus: NamedDependency[Consensus], data: JsonBody[Action], actor: NamedDependency[Actor]
) -> DecidedProposal:
    """Approve or reject, as the public server takes it; there the answer comes true only by accident."""
    if data.action == "approve":
        decision = await consensus.approve(data.pattern_hash, None, actor, data.reason)
        return _decided("Proposal approved", decision, consensus)
    reason = data.reason or "rejected without a stated reason"
    decision = await consensus.reject(data.pattern_hash, actor, reason)
    return _decided("Proposal rejected", decision, consensus)


@post("/api/admin/promote", guards=_admins, status_code=200)
async def promote_now(consensus: NamedDependency[Consensus], now: NamedDependency[datetime]) -> CycleReport:
    """Run the promotion cycle now; the answer is its report."""
    return await consensus.run_cycle(now)


@post(["/api/atr-feedback", "/api/rule-feedback"], guards=_agents)
async def give_feedback(
    consensus: NamedDependency[Consensus],
    data: JsonBody[Feedback],
    principal: NamedDependency[Principal],
    now: NamedDependency[datetime],
) -> FeedbackReceipt:
    """Say whether a served rule was right; the latest vote of an identity on a rule counts."""
    reception = await consensus.give_feedback(principal, data.rule_id, data.is_true_positive, now)
    return FeedbackReceipt("Feedback received", reception.quarantined, reception.flagged)


@get("/api/atr-feedback", guards=_reviewers)
async def list_feedback(consensus: NamedDependency[Consensus]) -> list[ContestedRule]:
    """Rules with open false-positive votes, the most contested first."""
    return await consensus.contested_rules()


@post("/api/atr-feedback/settle", guards=_reviewers, status_code=200)
async def dismiss_feedback(
    consensus: NamedDependency[Consensus], data: JsonBody[FeedbackDismissal], actor: NamedDependency[Actor]
) -> DismissedFeedback:
    """Let the false-positive votes on a rule count no more: somebody has looked into them."""
    dismissed = await consensus.dismiss_feedback(data.rule_id, actor, data.reason)
    return DismissedFeedback("Feedback settled", data.rule_id, dismissed)


def consensus_problem(error: ConsensusError) -> Problem:
    """Say in HTTP what consensus refuses."""
    match error:
        case UnusableText():
            reasons = {"reasons": error.reasons} if error.reasons else {}
            return bad_request(f"ruleContent: {error}", "ruleContent", **reasons)
        case Refused():
            detail = {"status": error.status} if error.status else {}
            return conflict(str(error), **detail, **({"reasons": error.reasons} if error.reasons else {}))
        case _:
            return not_found(str(error))


def _decided(message: str, decision: ReviewDecision, consensus: Consensus) -> DecidedProposal:
    return DecidedProposal(
        message=message,
        pattern_hash=decision.pattern_hash,
        status=decision.status,
        confirmations=decision.confirmations,
        required=consensus.policy.threshold,
        missing=decision.missing,
    )


def _check_size(text: str) -> None:
    if len(text) > MAX_RULE_CHARACTERS:
        raise Problem(
            413,
            f"ruleContent: has {len(text)} characters; at most {MAX_RULE_CHARACTERS}.",
            {"field": "ruleContent"},
        )


consensus_handlers = [
    propose,
    list_proposals,
    show_proposal,
    explain_proposal,
    approve_proposal,
    reject_proposal,
    supply_text,
    withdraw_proposal,
    reopen_proposal,
    act_on_proposal,
    promote_now,
    give_feedback,
    list_feedback,
    dismiss_feedback,
]
"""Every route of this capability."""
