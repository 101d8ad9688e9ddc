"""Guards: what a route demands of its caller.

Each route has one of `require`, `require_reader`, `require_reporter`, `require_monitor`, `public`.

The edge puts `headers` (lower-case names, read once), `client_address` (str) and `request_id` into
`scope["state"]`, and `local = True` for requests that came in through the instance's unix socket. Guards add
`principal`, `now`, `sightings` and, once charged, `rate_limit` (a `Verdict`, from which the edge writes the
`X-RateLimit-*` headers of whatever answer follows).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler

from app.access.gatekeeper import Gatekeeper
from app.access.principal import LOCAL, Actor, Principal, anonymous
from app.access.refusals import key_needed, too_fast, wrong_role
from app.access.roles import Role
from app.access.sightings import Sightings
from app.http.services import FromRequest

Connection = ASGIConnection[Any, Any, Any, State]
OPERATOR_HEADER = "x-threatcloud-operator"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._@-]")


@dataclass(frozen=True, slots=True)
class Guard:
    """One route's demand, as Litestar calls it before the handler; tests read it off the route.

    `roles` may enter; `reader` also admits whoever policy lets read without a key, `reporter` whoever it lets
    report without one, `monitor` whoever it lets read metrics. `charged` takes one request off the caller's rate
    limit at once; a route that answers some for free charges by itself.
    """

    roles: frozenset[Role]
    reader: bool = False
    reporter: bool = False
    monitor: bool = False
    charged: bool = True

    @property
    def by_policy(self) -> bool:
        """May somebody without a key enter, where policy says so?"""
        return self.reader or self.reporter or self.monitor

    async def __call__(self, connection: Connection, _: BaseRouteHandler) -> None:
        """Let the request through or raise `Problem` 401, 403 or 429."""
        if self.roles:
            await self.admit(connection)

    async def admit(self, connection: Connection) -> Principal:
        """Who asks, if they may; raises `Problem` 401, 403 or 429."""
        principal = await authenticate_request(connection)
        if principal.role is None and not self._admits_without_key(connection, principal.address):
            raise key_needed()
        if self.charged:
            charge(connection, principal)
        if principal.role is not None and principal.role not in self.roles:
            raise wrong_role(principal.role, self.roles)
        return principal

    def _admits_without_key(self, connection: Connection, address: str) -> bool:
        gatekeeper = _gatekeeper(connection)
        if self.monitor:
            peer = connection.client.host if connection.client else ""
            return gatekeeper.may_read_metrics(address, peer, connection.scope["state"]["headers"])
        return (self.reader and gatekeeper.may_read_anonymously(address)) or (
            self.reporter and gatekeeper.may_report_anonymously(address)
        )


def require(*roles: Role, charged: bool = True) -> Guard:
    """Only keys with one of these roles."""
    if not roles:
        raise ValueError("name at least one role, or use public()")
    return Guard(frozenset(roles), charged=charged)


def require_reader(*, charged: bool = True) -> Guard:
    """Any valid key; without one, whoever the policy's `anonymous_read` admits."""
    return Guard(frozenset(Role), reader=True, charged=charged)


def require_monitor() -> Guard:
    """A reviewer's or an admin's key; without one, whoever the policy's `metrics_networks` admits."""
    return Guard(frozenset({Role.REVIEWER, Role.ADMIN}), monitor=True)


def require_reporter(*roles: Role) -> Guard:
    """Keys with one of these roles (none named: any key); without a key, whom the policy's `anonymous_report` admits.

    `principal_of` then has no role and no subject of its own: whatever counts identities must leave it out.
    """
    return Guard(frozenset(roles or Role), reporter=True)


def public() -> Guard:
    """Everybody; a key that is sent along is not even looked at."""
    return Guard(frozenset())


async def authenticate_request(connection: Connection) -> Principal:
    """Find out who asks and remember it for `principal_of`; raises `Problem` 401 or 429."""
    state = connection.scope["state"]
    if state.get("local") is True:
        principal = LOCAL
    else:
        gatekeeper = _gatekeeper(connection)
        state["sightings"] = gatekeeper.sightings
        principal = await gatekeeper.authenticate(
            state["headers"], state["client_address"], instant_of(connection)
        )
    state["principal"] = principal
    return principal


def note_served(connection: Connection, principal: Principal, serial: int) -> None:
    """Remember for the fleet view that this key now has the rules of a publication.

    Free of look-ups in the application's state, which cost more than all else that is added to a 304 (2 us).
    """
    sightings: Sightings | None = connection.scope["state"].get("sightings")
    if sightings is not None:
        sightings.served(principal.key_id, serial, instant_of(connection))


def charge(connection: Connection, principal: Principal) -> None:
    """Take one request off the principal's rate limit; raises `Problem` 429. The local operator has none."""
    if principal.is_local:
        return
    verdict = _gatekeeper(connection).rate_limit(principal, instant_of(connection))
    connection.scope["state"]["rate_limit"] = verdict
    if not verdict.allowed:
        raise too_fast(verdict)


def principal_of(connection: Connection) -> Principal:
    """Who the guard found; somebody anonymous on public routes."""
    state = connection.scope["state"]
    principal: Principal = state.get("principal") or anonymous(state["client_address"])
    return principal


def actor_of(connection: Connection) -> str:
    """How the audit log names who asks: subject and key, or the local operator's login name."""
    principal = principal_of(connection)
    if not principal.is_local:
        return principal.actor
    name = _NOT_IN_A_NAME.sub("", connection.headers.get(OPERATOR_HEADER, ""))[:64]
    return f"local ({name or 'unnamed'})"


def acting(connection: Connection) -> Actor:
    """Return who asks, from where and when, for what is decided and written down."""
    return Actor(actor_of(connection), principal_of(connection).address, instant_of(connection))


def instant_of(connection: Connection) -> datetime:
    """The instant of this request, UTC: the clock is read once, here, unless the edge has read it already."""
    state = connection.scope["state"]
    now: datetime | None = state.get("now")
    if now is None:
        now = state["now"] = datetime.now(UTC)
    return now


access_dependencies = {
    "principal": FromRequest(principal_of),
    "actor": FromRequest(acting),
    "now": FromRequest(instant_of),
}
"""Who asks (`Principal`), who acts (`Actor`), and when (`datetime`)."""


def _gatekeeper(connection: Connection) -> Gatekeeper:
    gatekeeper: Gatekeeper = connection.app.state.gatekeeper
    return gatekeeper
