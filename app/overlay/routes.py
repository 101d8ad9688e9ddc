"""Overlay entries over HTTP: look, make, compare with upstream, remove."""

from typing import Any, cast

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath
from litestar.response import Response

from app.access.guards import actor_of, instant_of, principal_of, require
from app.access.lifetime import parse_lifetime
from app.access.principal import Actor
from app.access.roles import Role
from app.federation.errors import EntryRefused, UnknownEntry
from app.http.body import read_body
from app.http.envelope import AnyRequest, answer
from app.http.paging import cursor_for, page_of
from app.http.problem import Problem, bad_request, conflict, not_found
from app.http.timestamps import to_text
from app.overlay.config import Owner, Reason, RuleId, Severity, Version
from app.overlay.entries import Decision
from app.overlay.resolve import Action
from app.rules.local import ImportRefused
from app.sandbox import SandboxClosed, SandboxError

STATES = ("active", "expired", "idle", "unusable")
MAX_REASON = 500


class NewEntry(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, tag_field="action"
):
    """What every new entry says; `owner` is the asking subject unless it is given, `expires` as for keys."""

    rule_id: RuleId
    reason: Reason
    owner: Owner | None = None
    expires: str | None = None

    @property
    def action(self) -> Action:
        """The action, as the body writes it."""
        tag: Action = type(self).__struct_config__.tag  # type: ignore[assignment]
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


@get("/api/admin/overlay", guards=[require(Role.REVIEWER, Role.ADMIN)])
async def list_overlay(request: AnyRequest) -> Response[bytes]:
    """Overlay entries by rule and action; filters rule, state."""
    query = request.query_params
    page = page_of(query)
    state = query.get("state")
    if state is not None and state not in STATES:
        raise bad_request(f"state: one of {', '.join(STATES)}", "state")
    listed = await request.app.state.overlays.list_entries(instant_of(request), query.get("rule"))
    wanted = [
        entry
        for entry in listed
        if (state is None or entry.state == state)
        and (page.after is None or (entry.rule_id, entry.action) > page.after)
    ]
    shown = wanted[: page.limit]
    more = cursor_for([shown[-1].rule_id, shown[-1].action]) if len(wanted) > page.limit else None
    return answer(request, shown, meta={"next": more})


@post("/api/admin/overlay", guards=[require(Role.ADMIN)], status_code=201)
async def make_entry(request: AnyRequest) -> Response[bytes]:
    """Make an overlay entry, in place of one made here for the same rule and action, and publish what it changes."""
    body = await read_body(request, cast("type[AnyNewEntry]", AnyNewEntry))
    actor = _by(request)
    decision = Decision(
        rule_id=body.rule_id,
        action=body.action,
        owner=body.owner or principal_of(request).subject,
        reason=body.reason,
        expires_at=to_text(parse_lifetime(body.expires, actor.at)) if body.expires is not None else None,
        severity=body.severity if isinstance(body, NewSeverity) else None,
        version=body.version if isinstance(body, NewPin) else None,
    )
    text = body.text if isinstance(body, NewReplacement) else None
    return answer(request, await _settled(request.app.state.overlays.add(decision, text, actor)), status=201)


@get("/api/admin/overlay/{entry_id:str}", guards=[require(Role.REVIEWER, Role.ADMIN)])
async def show_overlay(request: AnyRequest, entry_id: FromPath[str]) -> Response[bytes]:
    """One overlay entry, with what upstream and we changed since it was made."""
    return answer(request, await _settled(request.app.state.overlays.show(entry_id, instant_of(request))))


@delete("/api/admin/overlay/{entry_id:str}", guards=[require(Role.ADMIN)], status_code=200)
async def remove_entry(request: AnyRequest, entry_id: FromPath[str]) -> Response[bytes]:
    """Remove an overlay entry that was made here (`reason=` goes to the audit log) and publish what that changes."""
    reason = request.query_params.get("reason")
    if reason is not None and not 1 <= len(reason) <= MAX_REASON:
        raise bad_request(f"reason: 1 to {MAX_REASON} characters", "reason")
    await _settled(request.app.state.overlays.remove(entry_id, reason, _by(request)))
    return answer(request, {"id": entry_id, "removed": True})


async def _settled(pending: Any) -> Any:
    try:
        return await pending
    except UnknownEntry as error:
        raise not_found(str(error)) from error
    except EntryRefused as error:
        raise conflict(str(error)) from error
    except ImportRefused as refused:
        raise Problem(
            422,
            f"The text cannot replace a rule: {len(refused.mistakes)} mistakes, see detail.",
            {"mistakes": msgspec.to_builtins(refused.mistakes)},
        ) from None
    except SandboxClosed:
        raise
    except SandboxError as error:
        raise Problem(422, f"The text cannot be read: {error}.") from error


def _by(request: AnyRequest) -> Actor:
    return Actor(actor_of(request), principal_of(request).address, instant_of(request))


overlay_handlers = [list_overlay, make_entry, show_overlay, remove_entry]
