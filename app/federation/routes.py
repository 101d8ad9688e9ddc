"""Upstreams over HTTP: how they are doing, pulling by hand, and what an admin decides of held changes."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from app.access.guards import actor_of, instant_of, principal_of, require
from app.access.principal import Actor
from app.access.roles import Role
from app.federation.errors import FederationError, PendingChangesMoved, UnknownChange, UnknownUpstream
from app.federation.pending_store import PendingChange, PendingState
from app.federation.service import Federation
from app.http.body import read_body
from app.http.envelope import AnyRequest, answer
from app.http.paging import cursor_for, page_of
from app.http.problem import bad_request, conflict, not_found
from app.rules.difference import FieldChange, field_changes
from app.sandbox import Sandbox, SandboxClosed, SandboxError

T = TypeVar("T")
MAX_NAMED = 20_000
"""Rules that one decision may name; a pull brings no more."""

RuleId = Annotated[str, Meta(min_length=1, max_length=128)]
RuleIds = Annotated[list[RuleId], Meta(min_length=1, max_length=MAX_NAMED)]
Reason = Annotated[str, Meta(min_length=1, max_length=2000)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]

_reviewers = [require(Role.REVIEWER, Role.ADMIN)]
_admins = [require(Role.ADMIN)]


class ChangeApproval(msgspec.Struct):
    """The body of an approval; without `rules`, everything held is meant, as `digest` names it."""

    rules: RuleIds | None = None
    reason: Reason | None = None
    digest: Digest | None = None


class ChangeRejection(msgspec.Struct):
    """The body of a refusal; without `rules`, everything held is meant, as `digest` names it."""

    reason: Reason
    rules: RuleIds | None = None
    digest: Digest | None = None


class PendingChangeDetail(PendingChange, frozen=True, rename="camel"):
    """A held or refused change with the texts before and after it (null where there is none), field by field."""

    fields: list[FieldChange]
    before: str | None
    after: str | None


@get("/api/admin/upstreams", guards=_reviewers)
async def list_upstreams(request: AnyRequest) -> Response[bytes]:
    """How every upstream is doing, in the order of the configuration."""
    return answer(request, await _federation(request).statuses(instant_of(request)))


@get("/api/admin/upstreams/{name:str}", guards=_reviewers)
async def show_upstream(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """How one upstream is doing."""
    return answer(request, await _settled(_federation(request).status(name, instant_of(request))))


@get("/api/admin/upstreams/{name:str}/set-aside", guards=_reviewers)
async def list_set_aside(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """What the last answer offered that is not taken, with the reasons."""
    page = page_of(request.query_params, key_parts=1)
    start = _number(page.after[0]) if page.after else 0
    found = await _settled(_federation(request).set_aside(name))
    end = start + page.limit
    shown = [{"ruleId": item.rule_id, "reason": item.reason} for item in found[start:end]]
    following = cursor_for([str(end)]) if end < len(found) else None
    return answer(request, shown, meta={"next": following, "total": len(found)})


@get("/api/admin/upstreams/{name:str}/versions", guards=_reviewers)
async def list_versions(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """What the upstream offered, state by state, newest first."""
    page = page_of(request.query_params, key_parts=1)
    if page.after:
        _number(page.after[0])
    rows = await _settled(_federation(request).list_versions(name, page))
    return answer(
        request, rows[: page.limit], meta={"next": _following(rows, page.limit, lambda row: str(row.id))}
    )


@post("/api/admin/upstreams/{name:str}/sync", guards=_admins, status_code=202)
async def start_pull(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """Start a pull now, in the background; joins the one that waits or runs."""
    progress = await _settled(_federation(request).start_pull(name, instant_of(request)))
    return answer(request, {"pull": progress}, status=202)


@get("/api/admin/upstreams/{name:str}/pull", guards=_reviewers)
async def show_pull(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """The running pull, or the last one since the start of the server."""
    return answer(request, {"pull": await _settled(_federation(request).progress(name))})


@get("/api/admin/upstreams/{name:str}/held", guards=_reviewers)
async def list_held(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """Changes that wait for an admin, or with `state=refused` those that were refused."""
    page = page_of(request.query_params, key_parts=1)
    state = _state(request.query_params.get("state", "held"))
    rows, digest, total = await _settled(_federation(request).list_pending(name, page, state))
    following = _following(rows, page.limit, lambda row: row.rule_id)
    return answer(request, rows[: page.limit], meta={"next": following, "digest": digest, "total": total})


@get("/api/admin/upstreams/{name:str}/held/{rule_id:str}", guards=_reviewers)
async def show_held(request: AnyRequest, name: FromPath[str], rule_id: FromPath[str]) -> Response[bytes]:
    """One held or refused change, field by field."""
    shown, before, after = await _settled(_federation(request).show_pending(name, rule_id))
    fields = await compare(request.app.state.inspect_sandbox, before, after)
    return answer(
        request,
        PendingChangeDetail(**msgspec.structs.asdict(shown), fields=fields, before=before, after=after),
    )


@post("/api/admin/upstreams/{name:str}/approve", guards=_admins, status_code=200)
async def approve(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """Apply held changes, all or some, and publish them."""
    body = await read_body(request, ChangeApproval)
    approved, serial = await _settled(
        _federation(request).approve(name, body.rules, _by(request), body.reason, body.digest)
    )
    return answer(request, {"approved": approved, "published": serial})


@post("/api/admin/upstreams/{name:str}/refuse", guards=_admins, status_code=200)
async def refuse(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """Refuse held changes, all or some: they are not held again while upstream offers the same."""
    body = await read_body(request, ChangeRejection)
    refused = await _settled(
        _federation(request).reject(name, body.rules, _by(request), body.reason, body.digest)
    )
    return answer(request, {"refused": refused, "published": None})


async def compare(sandbox: Sandbox, before: str | None, after: str | None) -> list[FieldChange]:
    """The change field by field; one that cannot be compared says so, since somebody must decide on it all the same.

    Raises `SandboxClosed` when the server stops.
    """
    try:
        return await sandbox.call(field_changes, before, after)
    except SandboxClosed:
        raise
    except SandboxError as error:
        return [FieldChange("...", None, f"cannot be compared field by field: {error}")]


def _federation(request: AnyRequest) -> Federation:
    federation: Federation = request.app.state.federation
    return federation


def _by(request: AnyRequest) -> Actor:
    return Actor(actor_of(request), principal_of(request).address, instant_of(request))


def _state(text: str) -> PendingState:
    states: dict[str, PendingState] = {"held": "held", "refused": "refused"}
    if text not in states:
        raise bad_request("state: held or refused", "state")
    return states[text]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise bad_request("cursor: not one that this server gave; start without it", "cursor")
    return int(text)


def _following(rows: Sequence[T], limit: int, key: Callable[[T], str]) -> str | None:
    return cursor_for([key(rows[limit - 1])]) if len(rows) > limit else None


async def _settled(pending: Awaitable[T]) -> T:
    try:
        return await pending
    except (UnknownUpstream, UnknownChange) as error:
        raise not_found(str(error)) from error
    except PendingChangesMoved as error:
        raise conflict(str(error), digest=error.digest) from error
    except FederationError as error:
        raise conflict(str(error)) from error


federation_handlers = [
    list_upstreams,
    show_upstream,
    list_set_aside,
    list_versions,
    start_pull,
    show_pull,
    list_held,
    show_held,
    approve,
    refuse,
]
"""Every route of upstreams; the application keeps its `Federation` in `app.state.federation`."""
