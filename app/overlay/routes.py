"""Overlay entries over HTTP: list, make, compare with upstream, remove."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, PathParameter, QueryParameter

from app.access.enrolment import parse_lifetime
from app.access.principal import Actor, Principal, Role
from app.access.route_guards import require
from app.http.envelope import Answer
from app.http.paging import Page, page_of_rows, paged
from app.http.problem import Problem, conflict, not_found
from app.http.requests import JsonBody
from app.http.timestamps import to_text
from app.overlay.config import Owner, Reason, RuleId, Severity, Version
from app.overlay.entries import OverlayDecision
from app.overlay.errors import EntryRefused, OverlayError, ReplacementRefused, UnreadableText
from app.overlay.resolve import OverlayAction, OverlayState
from app.overlay.service import Overlays
from app.overlay.views import OverlayComparison, OverlayEntrySummary

MAX_REASON = 500

EntryId = Annotated[str, PathParameter(schema_extra={"minLength": 1})]

_admins = [require(Role.ADMIN)]
_reviewers = [require(Role.REVIEWER, Role.ADMIN)]


class NewEntry(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, tag_field="action"
):
    """What every new entry says; `owner` is the asking subject unless it is given, `expires` as for keys."""

    rule_id: RuleId
    reason: Reason
    owner: Owner | None = None
    expires: str | None = None

    @property
    def action(self) -> OverlayAction:
        """The action, as the body writes it."""
        tag: OverlayAction = type(self).__struct_config__.tag  # type: ignore[assignment]
        return tag


class NewDisable(NewEntry, frozen=True, kw_only=True, rename="camel", tag="disable"):
    """Do not serve the rule."""


class NewEnable(NewEntry, frozen=True, kw_only=True, rename="camel", tag="enable"):
    """Serve the rule although its upstream's filters exclude it."""


class NewPin(NewEntry, frozen=True, kw_only=True, rename="camel", tag="pin"):
    """Keep the text of a kept version of an upstream, by its label or number; left out, the text in service."""

    version: Version | None = None


class NewSeverity(NewEntry, frozen=True, kw_only=True, rename="camel", tag="severity"):
    """Serve the rule with another severity."""

    severity: Severity


class NewReplacement(NewEntry, frozen=True, kw_only=True, rename="camel", tag="replace"):
    """Serve a text of one's own under the same id."""

    text: str


AnyNewEntry = NewDisable | NewEnable | NewPin | NewSeverity | NewReplacement


class RemovedEntry(msgspec.Struct):
    """An overlay entry that is gone."""

    id: str
    removed: bool


@get("/api/admin/overlay", guards=_reviewers, dependencies=paged(2))
async def list_overlay(
    overlays: NamedDependency[Overlays],
    page: NamedDependency[Page],
    now: NamedDependency[datetime],
    rule: FromQuery[str | None] = None,
    wanted_state: Annotated[OverlayState | None, QueryParameter(name="state")] = None,
) -> Answer[list[OverlayEntrySummary]]:
    """Overlay entries by rule and action; filters rule, state."""
    wanted = [
        entry
        for entry in await overlays.list_entries(now, rule)
        if (wanted_state is None or entry.state == wanted_state)
        and (page.after is None or (entry.rule_id, entry.action) > page.after)
    ]
    return page_of_rows(wanted, page, lambda entry: (entry.rule_id, entry.action))


@post("/api/admin/overlay", guards=_admins)
async def make_entry(
    overlays: NamedDependency[Overlays],
    data: JsonBody[AnyNewEntry],
    principal: NamedDependency[Principal],
    actor: NamedDependency[Actor],
) -> OverlayEntrySummary:
    """Make an overlay entry, in place of one made here for the same rule and action, and publish what it changes."""
    decision = OverlayDecision(
        rule_id=data.rule_id,
        action=data.action,
        owner=data.owner or principal.subject,
        reason=data.reason,
        expires_at=to_text(parse_lifetime(data.expires, actor.at)) if data.expires is not None else None,
        severity=data.severity if isinstance(data, NewSeverity) else None,
        version=data.version if isinstance(data, NewPin) else None,
    )
    return await overlays.add(decision, data.text if isinstance(data, NewReplacement) else None, actor)


@get("/api/admin/overlay/{entry_id:str}", guards=_reviewers)
async def show_overlay(
    overlays: NamedDependency[Overlays], entry_id: EntryId, now: NamedDependency[datetime]
) -> OverlayComparison:
    """One overlay entry, with what upstream and we changed since it was made."""
    return await overlays.show(entry_id, now)


@delete("/api/admin/overlay/{entry_id:str}", guards=_admins, status_code=200)
async def remove_entry(
    overlays: NamedDependency[Overlays],
    entry_id: EntryId,
    actor: NamedDependency[Actor],
    reason: Annotated[str | None, QueryParameter(min_length=1, max_length=MAX_REASON)] = None,
) -> RemovedEntry:
    """Remove an overlay entry that was made here (`reason=` goes to the audit log) and publish what that changes."""
    await overlays.remove(entry_id, reason, actor)
    return RemovedEntry(entry_id, removed=True)


def overlay_problem(error: OverlayError) -> Problem:
    """Say in HTTP what the overlay refuses."""
    match error:
        case ReplacementRefused():
            return Problem(422, str(error), {"mistakes": msgspec.to_builtins(error.errors)})
        case UnreadableText():
            return Problem(422, str(error))
        case EntryRefused():
            return conflict(str(error))
        case _:
            return not_found(str(error))


overlay_handlers = [list_overlay, make_entry, show_overlay, remove_entry]
