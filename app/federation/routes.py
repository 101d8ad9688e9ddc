"""Upstreams over HTTP: their status, pulls by hand, and an admin's decisions on pending changes."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta

from app.access.principal import Actor, Role
from app.access.route_guards import require
from app.federation.errors import FederationError, PendingChangesMoved, UnknownChange, UnknownUpstream
from app.federation.pending_store import PendingChange, PendingState
from app.federation.service import Federation
from app.federation.status import PullProgress, UpstreamStatus
from app.federation.versions_store import UpstreamVersion
from app.http.envelope import Answer
from app.http.paging import Page, cursor_for, page_of_rows, paged
from app.http.problem import Problem, bad_request, conflict, not_found
from app.http.requests import JsonBody
from app.rules.compare import FieldChange, field_changes
from app.sandbox import Sandbox, SandboxClosed, SandboxError

MAX_NAMED = 20_000
"""Rules that one decision may name; a pull brings no more."""

RuleId = Annotated[str, Meta(min_length=1, max_length=128)]
RuleIds = Annotated[list[RuleId], Meta(min_length=1, max_length=MAX_NAMED)]
Reason = Annotated[str, Meta(min_length=1, max_length=2000)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
PathText = Annotated[str, PathParameter(schema_extra={"minLength": 1})]
"""Described, not checked: another name is one that nothing has."""

_reviewers = [require(Role.REVIEWER, Role.ADMIN)]
_admins = [require(Role.ADMIN)]


class ChangeApproval(msgspec.Struct):
    """The body of an approval; without `rules`, everything held is meant, as `digest` names it."""

    rules: RuleIds | None = None
    reason: Reason | None = None
    digest: Digest | None = None


class ChangeRejection(msgspec.Struct):
    """The body of a rejection; without `rules`, everything held is meant, as `digest` names it."""

    reason: Reason
    rules: RuleIds | None = None
    digest: Digest | None = None


class PendingChangeDetail(PendingChange, frozen=True, rename="camel"):
    """A held or refused change with the texts before and after it (null where there is none), field by field."""

    fields: list[FieldChange]
    before: str | None
    after: str | None


class SetAsideRule(msgspec.Struct, rename="camel"):
    """A rule that an upstream offers and that is not taken, and why; without an id, by upstream's name for it."""

    rule_id: str
    reason: str


class StartedPull(msgspec.Struct):
    """The pull that was started or joined."""

    pull: PullProgress


class LastPull(msgspec.Struct):
    """The running or last pull; null when there was none since the server started."""

    pull: PullProgress | None


class ApprovedChanges(msgspec.Struct):
    """Rule ids, and the serial of the publication that follows; null when nothing new is published (yet)."""

    approved: list[str]
    published: int | None


class RejectedChanges(msgspec.Struct):
    """Rule ids; nothing is published by a rejection."""

    refused: list[str]
    published: None


@get("/api/admin/upstreams", guards=_reviewers)
async def list_upstreams(
    federation: NamedDependency[Federation], now: NamedDependency[datetime]
) -> list[UpstreamStatus]:
    """List the status of every upstream, in the order of the configuration."""
    return await federation.statuses(now)


@get("/api/admin/upstreams/{name:str}", guards=_reviewers)
async def show_upstream(
    federation: NamedDependency[Federation], name: PathText, now: NamedDependency[datetime]
) -> UpstreamStatus:
    """Show the status of one upstream."""
    return await federation.status(name, now)


@get("/api/admin/upstreams/{name:str}/set-aside", guards=_reviewers, dependencies=paged(1))
async def list_set_aside(
    federation: NamedDependency[Federation], name: PathText, page: NamedDependency[Page]
) -> Answer[list[SetAsideRule]]:
    """List what the last answer offered that is not taken, with the reasons."""
    start = _number_in(page)
    found = await federation.set_aside(name)
    end = start + page.limit
    shown = [SetAsideRule(item.rule_id, item.reason) for item in found[start:end]]
    following = cursor_for([str(end)]) if end < len(found) else None
    return Answer(shown, meta={"next": following, "total": len(found)})


@get("/api/admin/upstreams/{name:str}/versions", guards=_reviewers, dependencies=paged(1))
async def list_versions(
    federation: NamedDependency[Federation], name: PathText, page: NamedDependency[Page]
) -> Answer[list[UpstreamVersion]]:
    """List what the upstream offered, state by state, newest first."""
    _number_in(page)
    rows = await federation.list_versions(name, page)
    return page_of_rows(rows, page, lambda row: [str(row.id)])


@post("/api/admin/upstreams/{name:str}/sync", guards=_admins, status_code=202)
async def start_pull(
    federation: NamedDependency[Federation], name: PathText, now: NamedDependency[datetime]
) -> StartedPull:
    """Start a pull now, in the background; joins the one that waits or runs."""
    return StartedPull(await federation.start_pull(name, now))


@get("/api/admin/upstreams/{name:str}/pull", guards=_reviewers)
async def show_pull(federation: NamedDependency[Federation], name: PathText) -> LastPull:
    """Show the running pull, or the last one since the start of the server."""
    return LastPull(await federation.progress(name))


@get("/api/admin/upstreams/{name:str}/held", guards=_reviewers, dependencies=paged(1))
async def list_pending(
    federation: NamedDependency[Federation],
    name: PathText,
    page: NamedDependency[Page],
    wanted: Annotated[PendingState, QueryParameter(name="state", description="held or refused")] = "held",
) -> Answer[list[PendingChange]]:
    """List changes that wait for an admin, or with `state=refused` those that were refused."""
    rows, digest, total = await federation.list_pending(name, page, wanted)
    shown = page_of_rows(rows, page, lambda row: [row.rule_id])
    shown.meta = {**(shown.meta or {}), "digest": digest, "total": total}
    return shown


@get("/api/admin/upstreams/{name:str}/held/{rule_id:str}", guards=_reviewers)
async def show_pending(
    federation: NamedDependency[Federation],
    inspect_sandbox: NamedDependency[Sandbox],
    name: PathText,
    rule_id: PathText,
) -> PendingChangeDetail:
    """Show one held or refused change, field by field."""
    shown, before, after = await federation.show_pending(name, rule_id)
    fields = await compare(inspect_sandbox, before, after)
    return PendingChangeDetail(**msgspec.structs.asdict(shown), fields=fields, before=before, after=after)


@post("/api/admin/upstreams/{name:str}/approve", guards=_admins, status_code=200)
async def approve(
    federation: NamedDependency[Federation],
    name: PathText,
    data: JsonBody[ChangeApproval],
    actor: NamedDependency[Actor],
) -> ApprovedChanges:
    """Apply held changes, all or some, and publish them."""
    approved, serial = await federation.approve(name, data.rules, actor, data.reason, data.digest)
    return ApprovedChanges(approved, serial)


@post("/api/admin/upstreams/{name:str}/refuse", guards=_admins, status_code=200)
async def reject(
    federation: NamedDependency[Federation],
    name: PathText,
    data: JsonBody[ChangeRejection],
    actor: NamedDependency[Actor],
) -> RejectedChanges:
    """Refuse held changes, all or some: they are not held again while upstream offers the same."""
    rejected = await federation.reject(name, data.rules, actor, data.reason, data.digest)
    return RejectedChanges(rejected, None)


async def compare(sandbox: Sandbox, before: str | None, after: str | None) -> list[FieldChange]:
    """Compare two texts field by field; a change that cannot be compared says so, since it needs a decision too.

    Raises `SandboxClosed` when the server stops.
    """
    try:
        return await sandbox.call(field_changes, before, after)
    except SandboxClosed:
        raise
    except SandboxError as error:
        return [FieldChange("...", None, f"cannot be compared field by field: {error}")]


def federation_problem(error: FederationError) -> Problem:
    """Say in HTTP what federation refuses."""
    match error:
        case UnknownUpstream() | UnknownChange():
            return not_found(str(error))
        case PendingChangesMoved():
            return conflict(str(error), digest=error.digest)
        case _:
            return conflict(str(error))


def _number_in(page: Page) -> int:
    """Return the number in a cursor; 0 without one."""
    if page.after is None:
        return 0
    text = page.after[0]
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise bad_request("cursor: not one that this server gave; start without it", "cursor")
    return int(text)


federation_handlers = [
    list_upstreams,
    show_upstream,
    list_set_aside,
    list_versions,
    start_pull,
    show_pull,
    list_pending,
    show_pending,
    approve,
    reject,
]
"""Every route of upstreams."""
