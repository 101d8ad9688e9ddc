"""Feeds over HTTP, and an admin's entries in them."""

from typing import Annotated, Literal

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from litestar.types import ASGIApp
from msgspec import Meta

from app.access.principal import Actor, Role
from app.access.route_guards import require, require_reader
from app.http.described import described
from app.http.envelope import Answer, AnyRequest
from app.http.paging import Page, page_of_rows, paged
from app.http.problem import bad_request, not_found
from app.http.requests import JsonBody
from app.intel.indicators.feeds import MIN_REPUTATION, FeedQuery, render_feed
from app.intel.indicators.model import IndicatorKind, exact_address, public_domain
from app.intel.indicators.service import Indicators
from app.intel.indicators.store import Indicator
from app.privacy.anonymisation import bounded

TEXT = b"text/plain; charset=utf-8"
MAX_CATEGORY = 64
_admins = [require(Role.ADMIN)]
READERS = require_reader()
"""Called in the handler, as in app.publication.polled_routes: fleets poll these routes."""
Value = Annotated[str, Meta(min_length=1, max_length=253)]
Reason = Annotated[str, Meta(min_length=1, max_length=500)]
_feed_route = described(
    str,
    media="text/plain",
    conditional=True,
    query={"minReputation": Annotated[int, Meta(ge=0, le=100)], "category": str},
    opt={"guard": READERS},
)


class NewIndicator(msgspec.Struct):
    """The body of `POST /api/admin/indicators`; the value shows whether it is an address or a domain."""

    value: Value
    reputation: Annotated[int, Meta(ge=0, le=100)] = 100
    category: Annotated[str, Meta(min_length=1, max_length=MAX_CATEGORY)] = "manual"
    reason: Reason | None = None


class IndicatorToDelete(msgspec.Struct):
    """The body of `DELETE /api/admin/indicators`."""

    value: Value


class DeletedIndicator(msgspec.Struct, frozen=True):
    """How many entries of the list and how many sightings of the value are gone."""

    value: str
    entries: int
    sightings: int


@get("/api/feeds/ip-blocklist", **_feed_route)
async def ip_blocklist(request: AnyRequest) -> ASGIApp:
    """Serve listed addresses, one a line: `minReputation` (70), `category`."""
    return await _feed(request, "ip")


@get("/api/feeds/domain-blocklist", **_feed_route)
async def domain_blocklist(request: AnyRequest) -> ASGIApp:
    """Serve listed domains, one a line: `minReputation` (70), `category`."""
    return await _feed(request, "domain")


async def _feed(request: AnyRequest, kind: IndicatorKind) -> ASGIApp:
    await READERS.admit(request)
    query = request.query_params
    category = query.get("category")
    wanted = FeedQuery(
        kind,
        _reputation(query.get("minReputation")),
        bounded(category, MAX_CATEGORY) if category is not None else None,
    )
    indicators: Indicators = request.app.state.indicators
    response = await indicators.listed.response(wanted, lambda listed: render_feed(listed, wanted))
    return response.answer(request, TEXT, b"")


@get("/api/admin/indicators", guards=_admins, dependencies=paged(3))
async def show_indicators(
    indicators: NamedDependency[Indicators],
    page: NamedDependency[Page],
    kind: FromQuery[IndicatorKind | None] = None,
    origin: Annotated[
        Literal["admin", "reports"] | None, QueryParameter(description="admin or reports")
    ] = None,
) -> Answer[list[Indicator]]:
    """List indicators by kind and value: `kind=ip|domain`, `origin=admin|reports`."""
    rows = await indicators.list_page(page, kind, origin)
    return page_of_rows(rows, page, lambda row: (row.kind, row.value, row.origin))


@post("/api/admin/indicators", guards=_admins)
async def add_indicator(
    indicators: NamedDependency[Indicators], data: JsonBody[NewIndicator], actor: NamedDependency[Actor]
) -> Indicator:
    """List an address or a domain, or change its entry."""
    kind, value = _named(data.value)
    return await indicators.put(
        kind,
        value,
        reputation=data.reputation,
        category=bounded(data.category, MAX_CATEGORY) or "manual",
        reason=data.reason,
        actor=actor,
    )


@delete("/api/admin/indicators", guards=_admins, status_code=200)
async def remove_indicator(
    indicators: NamedDependency[Indicators], data: JsonBody[IndicatorToDelete], actor: NamedDependency[Actor]
) -> DeletedIndicator:
    """Take a value off its feed, and delete its sightings: three new reports bring it back."""
    kind, value = _named(data.value)
    entries, sightings = await indicators.delete(kind, value, actor)
    if not entries and not sightings:
        raise not_found("Nothing is known of this value.")
    return DeletedIndicator(value, entries, sightings)


def _named(text: str) -> tuple[IndicatorKind, str]:
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


indicator_handlers = [ip_blocklist, domain_blocklist, show_indicators, add_indicator, remove_indicator]
