"""The routes that clients poll: `/api/atr-rules/live`, `/api/atr-rules`, `/api/rules`.

A poll asks in this order: who is it, may they, is anything new (304, free), is it too soon (429); then the body.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import msgspec
from litestar import get
from litestar.types import ASGIApp

from app.access import audit_store
from app.access.principal import Principal, Role
from app.access.refusals import too_fast
from app.access.route_guards import (
    actor_of,
    charge,
    instant_of,
    note_served,
    principal_of,
    require,
    require_reader,
)
from app.http.described import described
from app.http.envelope import AnyRequest, request_id
from app.http.prepared import NotModified, Prepared, accepts_gzip, is_current
from app.http.problem import Problem, bad_request
from app.publication.selection import Selection, in_canary_slice, selection_of
from app.publication.served_set import Representation, RepresentationName, ServedSet, closing

# These are the routes that a whole fleet polls, so the guard is called in the handler: Litestar copies the
# handler object for each guard of each request, which is an eighth of what a 304 costs (measured).
PARTNERS = require(Role.PARTNER, Role.ADMIN, charged=False)
READERS = require_reader(charged=False)

FILTERS = {"since": datetime, "category": str, "severity": str, "source": str}


class LiveRule(msgspec.Struct, rename="camel"):
    """One confirmed rule as partners get it."""

    rule_id: str
    rule_content: str
    published_at: str
    source: str
    category: str
    severity: str
    mitre_techniques: str
    tags: str


class SignedRule(LiveRule, rename="camel"):
    """One rule as agents get it; `signature` is base64 of Ed25519 over the UTF-8 bytes of `rule_content`."""

    signature: str


@get(
    "/api/atr-rules/live",
    **described(list[LiveRule], conditional=True, query=FILTERS, opt={"guard": PARTNERS}),
)
async def live(request: AnyRequest) -> ASGIApp:
    """Partner Live Sync (docs/partner-live-sync.md): confirmed rules only, the whole set authoritative."""
    principal = await PARTNERS.admit(request)
    served = _served(request)
    poll = _Poll(request, served, served.representation("live", canary=False), "live")
    if poll.is_current():
        if not poll.is_head:
            request.app.state.pull_counter.count(principal.key_id, instant_of(request))
            poll.note(principal)
        return NotModified(poll.headers)
    if not poll.is_head:
        _take_live_token(request, principal)
        await _audit_pull(request, served)
        poll.note(principal)
    return poll.full()


@get(
    "/api/atr-rules",
    **described(
        list[SignedRule],
        conditional=True,
        query={**FILTERS, "format": Literal["yaml", "guard"]},
        opt={"guard": READERS},
    ),
)
async def atr_rules(request: AnyRequest) -> ASGIApp:
    """Return confirmed rules for agents and ATR tools, whole or since an instant, with what was withdrawn."""
    return await _pull(request, _representation_asked)


@get("/api/rules", **described(list[SignedRule], conditional=True, query=FILTERS, opt={"guard": READERS}))
async def rules(request: AnyRequest) -> ASGIApp:
    """Return the public server's path for the same rules, for tools that know only that one; always YAML texts."""
    return await _pull(request, lambda _request, _principal: "yaml")


async def _pull(
    request: AnyRequest, choose: Callable[[AnyRequest, Principal], RepresentationName]
) -> ASGIApp:
    principal = await READERS.admit(request)
    served = _served(request)
    name = choose(request, principal)
    percent: int = request.app.state.config.consensus.canary_percent
    canary = principal.role is Role.AGENT and in_canary_slice(principal.subject, percent)
    poll = _Poll(request, served, served.representation(name, canary=canary), name)
    if poll.is_current():
        poll.note(principal)
        return NotModified(poll.headers)
    if not poll.is_head:
        charge(request, principal)
    poll.note(principal)
    return poll.full()


def _representation_asked(request: AnyRequest, principal: Principal) -> RepresentationName:
    asked = request.query_params.get("format") if request.scope["query_string"] else None
    if asked is None:
        return "guard" if principal.role in {Role.AGENT, None} else "yaml"
    if asked == "guard":
        return "guard"
    if asked == "yaml":
        return "yaml"
    raise bad_request("format: yaml or guard", "format")


class _Poll:
    """One request for one representation: its validators, and its answer when something is new."""

    def __init__(
        self, request: AnyRequest, served: ServedSet, representation: Representation, name: RepresentationName
    ) -> None:
        state = request.scope["state"]
        self.is_head: bool = state["is_head"]
        self._sent: dict[str, str] = state["headers"]
        self._request = request
        self._served = served
        self._representation = representation
        self._name = name
        self._selection = _selection(request, representation)
        self._etag = representation.etag
        if self._selection is not None:
            self._count, self._excerpt = representation.excerpt(self._selection.keeps)
            self._etag = served.etag(self._count, f"{name}&{self._selection.key}")
        freshness = request.app.state.freshness.token(served, instant_of(request).timestamp())
        self.headers = (
            (b"etag", self._etag.encode("ascii")),
            (b"last-modified", served.last_modified.encode("ascii")),
            (b"cache-control", b"private, no-cache"),
            (b"vary", b"Authorization, Accept-Encoding"),
            (b"threatcloud-freshness", freshness.encode("ascii")),
        )

    def is_current(self) -> bool:
        return is_current(self._sent, self._etag, self._served.published_at)

    def note(self, principal: Principal) -> None:
        """Remember for the fleet view that this key now has this set (nothing is known of a filtered part)."""
        if not self.is_head and (self._selection is None or not self._selection.filters):
            note_served(self._request, principal, self._served.serial)

    def full(self) -> Prepared:
        rest = closing(request_id(self._request))
        if self._selection is not None:
            meta = self._served.meta(self._name, self._count, self._etag, self._selection.since)
            return Prepared(self.headers, *_excerpt_body(self._excerpt, meta, rest))
        body = self._representation.body
        if accepts_gzip(self._sent.get("accept-encoding", "")):
            return Prepared(
                (*self.headers, (b"content-encoding", b"gzip")), body.gzip, body.finish_gzip(rest)
            )
        return Prepared(self.headers, body.plain, rest)


def _selection(request: AnyRequest, representation: Representation) -> Selection | None:
    if not request.scope["query_string"]:
        return None
    selection = selection_of(request.query_params)
    return None if selection is None or selection.is_everything(representation) else selection


def _excerpt_body(excerpt: bytes, meta: dict[str, Any], rest: bytes) -> tuple[bytes, bytes]:
    encoded = json.dumps(meta, separators=(",", ":")).encode("ascii")
    return b'{"ok":true,"data":[' + excerpt, b'],"meta":' + encoded + rest


def _served(request: AnyRequest) -> ServedSet:
    served: ServedSet | None = request.app.state.publisher.served
    if served is None:
        raise Problem(503, "The first publication is still being built.", headers={"Retry-After": "5"})
    return served


def _take_live_token(request: AnyRequest, principal: Principal) -> None:
    """Take one full answer off the caller's one a minute; a 304 never comes here."""
    if principal.is_local:
        return
    bucket = request.app.state.gatekeeper.live_bucket
    verdict = bucket.take(principal.key_id, instant_of(request).timestamp())
    request.scope["state"]["rate_limit"] = verdict
    if not verdict.allowed:
        raise too_fast(verdict)


async def _audit_pull(request: AnyRequest, served: ServedSet) -> None:
    now, actor, address = instant_of(request), actor_of(request), principal_of(request).address
    await request.app.state.storage.write(
        lambda db: audit_store.append(
            db,
            at=now,
            actor=actor,
            action="live.pull",
            target=f"publication {served.serial}",
            address=address,
        )
    )


distribution_handlers = [live, atr_rules, rules]
