"""Feeds over HTTP, and an admin's entries in them."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, post
from litestar.types import ASGIApp
from msgspec import Meta

from app.access.guards import actor_of, instant_of, principal_of, require, require_reader
from app.access.principal import Actor
from app.access.roles import Role
from app.http.body import read_body
from app.http.envelope import AnyRequest, answer
from app.http.paging import cursor_for, page_of
from app.http.problem import bad_request, not_found
from app.intel.indicators.feeds import MIN_REPUTATION, FeedTerms, feed
from app.intel.indicators.model import Kind, exact_address, public_domain
from app.intel.indicators.store import list_indicators
from app.intel.service import Intel
from app.privacy.anonymisation import bounded

TEXT = b"text/plain; charset=utf-8"
KINDS: tuple[Kind, ...] = ("ip", "domain")
MAX_CATEGORY = 64
_admins = [require(Role.ADMIN)]
READERS = require_reader()
"""Called in the handler, as in app.publication.distribution: fleets poll these routes."""
Value = Annotated[str, Meta(min_length=1, max_length=253)]
Reason = Annotated[str, Meta(min_length=1, max_length=500)]


class NewIndicator(msgspec.Struct):
    """The body of `POST /api/admin/indicators`; whether it is an address or a domain, the value says."""

    value: Value
    reputation: Annotated[int, Meta(ge=0, le=100)] = 100
    category: Annotated[str, Meta(min_length=1, max_length=MAX_CATEGORY)] = "manual"
    reason: Reason | None = None


class IndicatorToDelete(msgspec.Struct):
    """The body of `DELETE /api/admin/indicators`."""

    value: Value


@get("/api/feeds/ip-blocklist", opt={"guard": READERS})
async def ip_blocklist(request: AnyRequest) -> ASGIApp:
    """Public addresses, one a line: `minReputation` (70), `category`."""
    return await _feed(request, "ip")


@get("/api/feeds/domain-blocklist", opt={"guard": READERS})
async def domain_blocklist(request: AnyRequest) -> ASGIApp:
    """Public domains, one a line: `minReputation` (70), `category`."""
    return await _feed(request, "domain")


async def _feed(request: AnyRequest, kind: Kind) -> ASGIApp:
    await READERS.admit(request)
    query = request.query_params
    category = query.get("category")
    terms = FeedTerms(
        kind,
        _reputation(query.get("minReputation")),
        bounded(category, MAX_CATEGORY) if category is not None else None,
    )
    page = await _intel(request).indicator_list.page(terms, lambda listed: feed(listed, terms))
    return page.answer(request, TEXT, b"")


@get("/api/admin/indicators", guards=_admins)
async def show_indicators(request: AnyRequest) -> Response[bytes]:
    """What is listed, by kind and value: `kind=ip|domain`, `origin=admin|reports`."""
    page = page_of(request.query_params, key_parts=3)
    kind, origin = request.query_params.get("kind"), request.query_params.get("origin")
    if kind is not None and kind not in KINDS:
        raise bad_request(f"kind: one of {', '.join(KINDS)}", "kind")
    if origin not in (None, "admin", "reports"):
        raise bad_request("origin: admin or reports", "origin")
    rows = await request.app.state.storage.read(lambda db: list_indicators(db, page, kind, origin))
    shown = rows[: page.limit]
    last = shown[-1] if len(rows) > page.limit else None
    following = cursor_for([last.kind, last.value, last.origin]) if last else None
    return answer(request, shown, meta={"next": following})


@post("/api/admin/indicators", guards=_admins)
async def add_indicator(request: AnyRequest) -> Response[bytes]:
    """List an address or a domain, or change its entry."""
    body = await read_body(request, NewIndicator)
    kind, value = _named(body.value)
    entry = await _intel(request).put_indicator(
        kind,
        value,
        reputation=body.reputation,
        category=bounded(body.category, MAX_CATEGORY) or "manual",
        reason=body.reason,
        actor=_by(request),
    )
    return answer(request, entry, status=201)


@delete("/api/admin/indicators", guards=_admins, status_code=200)
async def remove_indicator(request: AnyRequest) -> Response[bytes]:
    """Take a value off its feed, and forget who reported it: it takes three new reports to come back."""
    body = await read_body(request, IndicatorToDelete)
    kind, value = _named(body.value)
    entries, sightings = await _intel(request).delete_indicator(kind, value, _by(request))
    if not entries and not sightings:
        raise not_found("Nothing is known of this value.")
    return answer(request, {"value": value, "entries": entries, "sightings": sightings})


def _named(text: str) -> tuple[Kind, str]:
    address = exact_address(text)
    if address is not None:
        return "ip", address
    domain = public_domain(text)
    if domain is not None:
        return "domain", domain
    raise bad_request(
        "value: one public IP address or domain name; what is private, reserved or masked is never listed",
        "value",
    )


def _reputation(text: str | None) -> int:
    if text is None:
        return MIN_REPUTATION
    if not (text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= 100):
        raise bad_request("minReputation: a whole number from 0 to 100", "minReputation")
    return int(text)


def _by(request: AnyRequest) -> Actor:
    return Actor(actor_of(request), principal_of(request).address, instant_of(request))


def _intel(request: AnyRequest) -> Intel:
    intel: Intel = request.app.state.intel
    return intel


feed_handlers = [ip_blocklist, domain_blocklist, show_indicators, add_indicator, remove_indicator]
