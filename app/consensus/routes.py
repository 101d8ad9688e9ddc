"""Consensus over HTTP: proposals, what reviewers decide of them, feedback on served rules."""

from collections.abc import Awaitable
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get, patch, post
from litestar.params import FromPath
from msgspec import Meta

from app.access.guards import actor_of, instant_of, principal_of, require
from app.access.principal import Role
from app.consensus.errors import ConsensusError, Refused, UnusableText
from app.consensus.review import By, Decision
from app.consensus.service import Consensus
from app.consensus.states import Status
from app.consensus.submission import Outcome
from app.http.body import read_body
from app.http.envelope import AnyRequest, answer
from app.http.paging import cursor_for, page_of
from app.http.problem import Problem, bad_request, conflict, not_found

MAX_RULE_CHARACTERS = 65_536
MAX_CLIENT_ID = 128

PatternHash = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z")]
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


class Settlement(msgspec.Struct, rename="camel"):
    """The body of `POST /api/atr-feedback/settle`."""

    rule_id: Annotated[str, Meta(min_length=1, max_length=256)]
    reason: Reason


@post("/api/atr-proposals", guards=_agents)
async def propose(request: AnyRequest) -> Response[bytes]:
    """Propose a pattern, or confirm one that is known: 201 or 200."""
    body = await read_body(request, NewProposal)
    _check_size(body.rule_content)
    client_id = request.headers.get("x-panguard-client-id")
    try:
        receipt, reading = await _consensus(request).submit(
            principal_of(request),
            pattern_hash=body.pattern_hash,
            text=body.rule_content,
            llm_provider=body.llm_provider,
            llm_model=body.llm_model,
            self_review_verdict=body.self_review_verdict,
            client_id=client_id[:MAX_CLIENT_ID] if client_id else None,
            now=instant_of(request),
        )
    except ConsensusError as error:
        raise _problem(error) from error
    data: dict[str, Any] = {
        "message": receipt.outcome,
        "patternHash": body.pattern_hash,
        "status": receipt.status,
        "confirmations": receipt.confirmations,
        "required": _consensus(request).policy.threshold,
    }
    if receipt.status is Status.DRAFT:
        data["reasons"] = reading.problems
    return answer(request, data, status=201 if receipt.outcome is Outcome.SUBMITTED else 200)


@get("/api/atr-proposals", guards=_reviewers)
async def list_proposals(request: AnyRequest) -> Response[bytes]:
    """Proposals, newest first; `status=` one state, `waitingFor=reviewer` what only lacks a text or a choice."""
    page = page_of(request.query_params)
    status, waiting = request.query_params.get("status"), request.query_params.get("waitingFor")
    if status is not None and status not in list(Status):
        raise bad_request(f"status: one of {', '.join(Status)}", "status")
    if waiting not in (None, "reviewer"):
        raise bad_request("waitingFor: only reviewer", "waitingFor")
    rows = await _consensus(request).list_proposals(
        page, status=Status(status) if status else None, waiting=waiting is not None
    )
    shown = rows[: page.limit]
    following = cursor_for([shown[-1].first_seen, shown[-1].pattern_hash]) if len(rows) > page.limit else None
    return answer(request, shown, meta={"next": following})


@get("/api/atr-proposals/{pattern_hash:str}", guards=_reviewers)
async def show_proposal(request: AnyRequest, pattern_hash: FromPath[str]) -> Response[bytes]:
    """One proposal, its texts side by side."""
    try:
        return answer(request, await _consensus(request).show(pattern_hash))
    except ConsensusError as error:
        raise _problem(error) from error


@get("/api/atr-proposals/{pattern_hash:str}/why", guards=_reviewers)
async def explain_proposal(request: AnyRequest, pattern_hash: FromPath[str]) -> Response[bytes]:
    """Each confirmation, counted or not and why, and what is missing still."""
    try:
        return answer(request, await _consensus(request).why(pattern_hash))
    except ConsensusError as error:
        raise _problem(error) from error


@post("/api/atr-proposals/{pattern_hash:str}/approve", guards=_reviewers, status_code=200)
async def approve_proposal(request: AnyRequest, pattern_hash: FromPath[str]) -> Response[bytes]:
    """Choose one of the texts."""
    body = await read_body(request, Approval)
    return await _decided(
        request,
        "Proposal approved",
        _consensus(request).approve(pattern_hash, body.variant, _by(request), body.reason),
    )


@post("/api/atr-proposals/{pattern_hash:str}/reject", guards=_reviewers, status_code=200)
async def reject_proposal(request: AnyRequest, pattern_hash: FromPath[str]) -> Response[bytes]:
    """Turn an undecided proposal down."""
    body = await read_body(request, WithReason)
    return await _decided(
        request, "Proposal rejected", _consensus(request).reject(pattern_hash, _by(request), body.reason)
    )


@post("/api/atr-proposals/{pattern_hash:str}/text", guards=_reviewers, status_code=200)
async def supply_text(request: AnyRequest, pattern_hash: FromPath[str]) -> Response[bytes]:
    """Give a proposal a text, which is thereby chosen."""
    body = await read_body(request, SuppliedText)
    _check_size(body.rule_content)
    return await _decided(
        request,
        "Text supplied and approved",
        _consensus(request).supply_text(pattern_hash, body.rule_content, _by(request), body.reason),
    )


@post("/api/atr-proposals/{pattern_hash:str}/withdraw", guards=_reviewers, status_code=200)
async def withdraw_proposal(request: AnyRequest, pattern_hash: FromPath[str]) -> Response[bytes]:
    """Take a promoted rule out of service."""
    body = await read_body(request, WithReason)
    return await _decided(
        request, "Rule withdrawn", _consensus(request).withdraw(pattern_hash, _by(request), body.reason)
    )


@post("/api/atr-proposals/{pattern_hash:str}/reopen", guards=_admins, status_code=200)
async def reopen_proposal(request: AnyRequest, pattern_hash: FromPath[str]) -> Response[bytes]:
    """Revoke the decision against a proposal."""
    body = await read_body(request, WithReason)
    return await _decided(
        request, "Proposal reopened", _consensus(request).reopen(pattern_hash, _by(request), body.reason)
    )


@patch("/api/atr-proposals", guards=_reviewers)
async def act_on_proposal(request: AnyRequest) -> Response[bytes]:
    """Approve or reject, as the public server takes it; there the answer comes true only by accident."""
    body = await read_body(request, Action)
    if body.action == "approve":
        approval = _consensus(request).approve(body.pattern_hash, None, _by(request), body.reason)
        return await _decided(request, "Proposal approved", approval)
    reason = body.reason or "rejected without a stated reason"
    rejection = _consensus(request).reject(body.pattern_hash, _by(request), reason)
    return await _decided(request, "Proposal rejected", rejection)


@post("/api/admin/promote", guards=_admins, status_code=200)
async def promote_now(request: AnyRequest) -> Response[bytes]:
    """Run the promotion cycle now; the answer is its report."""
    return answer(request, await _consensus(request).run_cycle(instant_of(request)))


@post(["/api/atr-feedback", "/api/rule-feedback"], guards=_agents)
async def give_feedback(request: AnyRequest) -> Response[bytes]:
    """Say whether a served rule was right; the latest vote of an identity on a rule counts."""
    body = await read_body(request, Feedback)
    try:
        reception = await _consensus(request).give_feedback(
            principal_of(request), body.rule_id, body.is_true_positive, instant_of(request)
        )
    except ConsensusError as error:
        raise _problem(error) from error
    data = {
        "message": "Feedback received",
        "quarantined": reception.quarantined,
        "flagged": reception.flagged,
    }
    return answer(request, data, status=201)


@get("/api/atr-feedback", guards=_reviewers)
async def list_feedback(request: AnyRequest) -> Response[bytes]:
    """Rules with unsettled false-positive votes, the most contested first."""
    return answer(request, await _consensus(request).contested_rules())


@post("/api/atr-feedback/settle", guards=_reviewers, status_code=200)
async def settle_feedback(request: AnyRequest) -> Response[bytes]:
    """Let the false-positive votes on a rule count no more: somebody has looked into them."""
    body = await read_body(request, Settlement)
    try:
        settled = await _consensus(request).settle_feedback(body.rule_id, _by(request), body.reason)
    except ConsensusError as error:
        raise _problem(error) from error
    return answer(request, {"message": "Feedback settled", "ruleId": body.rule_id, "settled": settled})


async def _decided(request: AnyRequest, message: str, decision: Awaitable[Decision]) -> Response[bytes]:
    try:
        found = await decision
    except ConsensusError as error:
        raise _problem(error) from error
    data = {
        "message": message,
        "patternHash": found.pattern_hash,
        "status": found.status,
        "confirmations": found.confirmations,
        "required": _consensus(request).policy.threshold,
        "missing": found.missing,
    }
    return answer(request, data)


def _consensus(request: AnyRequest) -> Consensus:
    consensus: Consensus = request.app.state.consensus
    return consensus


def _by(request: AnyRequest) -> By:
    return By(actor_of(request), principal_of(request).address, instant_of(request))


def _check_size(text: str) -> None:
    if len(text) > MAX_RULE_CHARACTERS:
        raise Problem(
            413,
            f"ruleContent: has {len(text)} characters; at most {MAX_RULE_CHARACTERS}.",
            {"field": "ruleContent"},
        )


def _problem(error: ConsensusError) -> Problem:
    match error:
        case UnusableText():
            reasons = {"reasons": error.reasons} if error.reasons else {}
            return bad_request(f"ruleContent: {error}", "ruleContent", **reasons)
        case Refused():
            detail = {"status": error.status} if error.status else {}
            return conflict(str(error), **detail, **({"reasons": error.reasons} if error.reasons else {}))
        case _:
            return not_found(str(error))


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
    settle_feedback,
]
"""Every route of this capability; the application keeps its `Consensus` in `app.state.consensus`."""
