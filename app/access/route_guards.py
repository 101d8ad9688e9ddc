"""Guards: what a route requires of its caller.

Each route has one of `require`, `require_reader`, `require_reporter`, `require_monitor`, `public`.

The edge puts `headers` (lower-case names, read once), `client_address` (str) and `request_id` into
`scope["state"]`, and `local = True` for requests that came in through the instance's unix socket. Guards add
`principal`, `now`, `key_activity` and, once charged, `rate_limit` (a `RateVerdict`, from which the edge writes the
`X-RateLimit-*` headers of the answer).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler

from app.access.gatekeeper import Gatekeeper
from app.access.key_activity import KeyActivity
from app.access.principal import LOCAL, Actor, Principal, Role, anonymous
from app.access.refusals import key_needed, too_fast, wrong_role
from app.http.services import FromRequest

Connection = ASGIConnection[Any, Any, Any, State]
OPERATOR_HEADER = "x-threatcloud-operator"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._@-]")


@dataclass(frozen=True, slots=True)
class Guard:
    """The requirement of one route, as Litestar calls it before the handler; tests read it off the route.

    Keys with one of the `roles` are admitted; `reader` also admits callers that policy lets read without a key,
    `reporter` those that it lets report without one, `monitor` those that it lets read metrics. `charged` takes one
    request off the caller's rate limit at once; a route that answers some requests for free charges by itself.
    """

    roles: frozenset[Role]
    reader: bool = False
    reporter: bool = False
    monitor: bool = False
    charged: bool = True

    @property
    def by_policy(self) -> bool:
        """True when a caller without a key is admitted where policy says so."""
        return self.reader or self.reporter or self.monitor

    async def __call__(self, connection: Connection, _: BaseRouteHandler) -> None:
        """Let the request through or raise `Problem` 401, 403 or 429."""
        if self.roles:
            await self.admit(connection)

    async def admit(self, connection: Connection) -> Principal:
        """Return the caller if it is admitted; raises `Problem` 401, 403 or 429."""
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
    """Admit only keys with one of these roles."""
    if not roles:
        raise ValueError("name at least one role, or use public()")
    return Guard(frozenset(roles), charged=charged)


def require_reader(*, charged: bool = True) -> Guard:
    """Admit any valid key; without one, callers that the policy's `anonymous_read` admits."""
    return Guard(frozenset(Role), reader=True, charged=charged)


def require_monitor() -> Guard:
    """Admit the key of a reviewer or admin; without one, callers that the policy's `metrics_networks` admits."""
    return Guard(frozenset({Role.REVIEWER, Role.ADMIN}), monitor=True)


def require_reporter(*roles: Role) -> Guard:
    """Admit keys with one of these roles (none: any key), and callers that `anonymous_report` admits.

    `principal_of` then has no role and no subject of its own: code that counts identities must leave it out.
    """
    return Guard(frozenset(roles or Role), reporter=True)


def public() -> Guard:
    """Admit everybody; a key that is sent along is not even read."""
    return Guard(frozenset())


async def authenticate_request(connection: Connection) -> Principal:
    """Find out who sends the request and keep it for `principal_of`; raises `Problem` 401 or 429."""
    state = connection.scope["state"]
    if state.get("local") is True:
        principal = LOCAL
    else:
        gatekeeper = _gatekeeper(connection)
        state["key_activity"] = gatekeeper.activity
        principal = await gatekeeper.authenticate(
            state["headers"], state["client_address"], instant_of(connection)
        )
    state["principal"] = principal
    return principal


def note_served(connection: Connection, principal: Principal, serial: int) -> None:
    """Record for the fleet view that this key now has the rules of a publication.

    This avoids look-ups in the application's state, which cost more than all else that is added to a 304 (2 us).
    """
    activity: KeyActivity | None = connection.scope["state"].get("key_activity")
    if activity is not None:
        activity.served(principal.key_id, serial, instant_of(connection))


def charge(connection: Connection, principal: Principal) -> None:
    """Take one request off the principal's rate limit; raises `Problem` 429. The local operator has none."""
    if principal.is_local:
        return
    verdict = _gatekeeper(connection).rate_limit(principal, instant_of(connection))
    connection.scope["state"]["rate_limit"] = verdict
    if not verdict.allowed:
        raise too_fast(verdict)


def principal_of(connection: Connection) -> Principal:
    """Return the caller that the guard found; somebody anonymous on public routes."""
    state = connection.scope["state"]
    principal: Principal = state.get("principal") or anonymous(state["client_address"])
    return principal


def actor_of(connection: Connection) -> str:
    """Return how the audit log names the caller: subject and key, or the local operator's login name."""
    principal = principal_of(connection)
    if not principal.is_local:
        return principal.actor
    name = _NOT_IN_A_NAME.sub("", connection.headers.get(OPERATOR_HEADER, ""))[:64]
    return f"local ({name or 'unnamed'})"


def acting(connection: Connection) -> Actor:
    """Return who asks, from where and when, for what is decided and written down."""
    return Actor(actor_of(connection), principal_of(connection).address, instant_of(connection))


def instant_of(connection: Connection) -> datetime:
    """Return the instant of this request, UTC: the clock is read once, here, unless the edge has read it already."""
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
