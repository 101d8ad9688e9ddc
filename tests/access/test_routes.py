"""Access over HTTP, and what the guards demand of every route."""

import base64
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.testing import TestClient
from litestar.types import ASGIApp, Receive, Scope, Send

from app.access.audit_routes import audit_handlers
from app.access.key_routes import key_handlers
from app.access.limits import RateVerdict
from app.access.policy import AccessPolicy, LimitPolicy
from app.access.principal import Role
from app.access.route_guards import (
    Guard,
    actor_of,
    charge,
    principal_of,
    public,
    require,
    require_reader,
)
from app.access.signing_key_routes import signing_key_handlers
from app.http.envelope import AnyRequest
from app.storage import Storage
from app.web.application import serve_handlers
from tests.clock import Clock

from .conftest import open_gatekeeper

LOCAL = {"x-test-local": "1", "x-threatcloud-operator": "ro<o>t"}
Json = dict[str, Any]
access_handlers = [*key_handlers, *audit_handlers, *signing_key_handlers]


@get("/agents", guards=[require(Role.AGENT, Role.ADMIN)])
async def for_agents(request: AnyRequest) -> Response[str]:
    return Response(actor_of(request))


@get("/readers", guards=[require_reader()])
async def for_readers(request: AnyRequest) -> Response[str]:
    return Response(principal_of(request).subject)


@get("/free", guards=[require_reader(charged=False)])
async def for_readers_often(request: AnyRequest) -> Response[str]:
    if "changed" in request.query_params:
        charge(request, principal_of(request))
    return Response("ok")


@get("/everybody", guards=[public()])
async def for_everybody(request: AnyRequest) -> Response[str]:
    return Response(principal_of(request).subject)


class Server:
    """A small application around the real handlers, with an edge that the tests command."""

    def __init__(self, state: Path, clock: Clock, access: AccessPolicy, limits: LimitPolicy) -> None:
        self.limits: RateVerdict | None = None
        self.rotated: list[str] = []

        async def on_rotated(use: str) -> None:
            self.rotated.append(use)

        @asynccontextmanager
        async def lifespan(app: Litestar) -> Any:
            app.state.storage = Storage(state)
            app.state.gatekeeper = await open_gatekeeper(app.state.storage, state, access, limits)
            app.state.gatekeeper.on_rotated = on_rotated
            yield
            await app.state.storage.close()

        def edge(app: ASGIApp) -> ASGIApp:
            async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
                headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
                scope["state"]["headers"] = headers
                scope["state"]["client_address"] = headers.get("x-test-address", "127.0.0.1")
                scope["state"]["request_id"] = "r-1"
                scope["state"]["now"] = clock.now
                if "x-test-local" in headers:
                    scope["state"]["local"] = True
                await app(scope, receive, send)
                self.limits = scope["state"].get("rate_limit")

            return middleware

        self.clock = clock
        self.app = serve_handlers(
            [*access_handlers, for_agents, for_readers, for_readers_often, for_everybody],
            middleware=[edge],
            lifespan=[lifespan],
        )
        self.client = TestClient(self.app)

    def ask(
        self, method: str, path: str, token: str | None = None, body: Any = None, **headers: str
    ) -> tuple[int, Json]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        response = self.client.request(method, path, json=body, headers=sent)
        self.headers = response.headers
        return response.status_code, response.json()

    def local(self, method: str, path: str, body: Any = None) -> tuple[int, Json]:
        return self.ask(method, path, None, body, **LOCAL)

    def issue(self, role: str = "agent", subject: str = "agent-7", **more: str) -> Json:
        status, answer = self.local("POST", "/api/admin/keys", {"role": role, "subject": subject} | more)
        assert status == 201, answer
        data: Json = answer["data"]
        return data


@pytest.fixture
def server(tmp_path: Path, clock: Clock) -> Iterator[Server]:
    server = Server(
        tmp_path,
        clock,
        AccessPolicy(networks=("127.0.0.0/8",), anonymous_read="networks"),
        LimitPolicy(agent_per_minute=5, anonymous_per_minute=3, partner_per_minute=2, admin_per_minute=8),
    )
    with server.client:
        yield server


def test_every_route_has_one_guard(server: Server) -> None:
    handlers = [
        handler
        for route in server.app.routes
        for handler in getattr(route, "route_handlers", [])
        if isinstance(handler, HTTPRouteHandler) and handler.http_methods != {"OPTIONS"}
    ]
    assert len(handlers) == len(access_handlers) + 4
    for handler in handlers:
        assert [isinstance(guard, Guard) for guard in handler.guards or ()] == [True], handler


def test_only_admins_reach_the_admin_routes(server: Server) -> None:
    tokens = {role: server.issue(role, f"the-{role}")["token"] for role in ("agent", "partner", "reviewer")}
    admin = server.issue("admin", "the-admin")["token"]
    for method, path in [
        ("POST", "/api/admin/keys"),
        ("GET", "/api/admin/keys"),
        ("POST", "/api/admin/keys/check"),
        ("GET", "/api/admin/keys/1"),
        ("DELETE", "/api/admin/keys/1"),
        ("POST", "/api/admin/partner-keys"),
        ("GET", "/api/audit-log"),
        ("GET", "/api/admin/audit/verify"),
        ("GET", "/api/admin/signing-keys"),
        ("POST", "/api/admin/signing-keys/rule/rotate"),
        ("DELETE", "/api/admin/signing-keys/1"),
    ]:
        server.clock.forward(minutes=5)
        assert server.ask(method, path)[0] == 401, path
        assert server.headers["www-authenticate"] == 'Bearer realm="threatcloud"'
        for token in tokens.values():
            status, answer = server.ask(method, path, token)
            assert status == 403, path
            assert answer["detail"]["allowed"] == ["admin"]
        assert server.ask(method, path, admin)[0] not in (401, 403), path


def test_the_life_of_a_key(server: Server) -> None:
    key = server.issue("agent", "agent-7", site="berlin", expires="90d")
    assert key["expires_at"] == "2026-07-16T10:30:00.000Z"
    assert key["issued_at"] == "2026-04-17T10:30:00.124Z"
    assert server.client.get("/agents", headers={"authorization": f"bearer {key['token']}"}).text == (
        f"agent-7 (key {key['id']})"
    )
    status, answer = server.local("GET", f"/api/admin/keys/{key['id']}")
    assert status == 200
    assert answer["data"] == {name: key[name] for name in answer["data"]}
    assert "token" not in answer["data"]
    status, answer = server.local("DELETE", f"/api/admin/keys/{key['id']}")
    assert status == 200
    assert answer["data"]["revoked_at"] == "2026-04-17T10:30:00.124Z"
    status, answer = server.ask("GET", "/agents", key["token"])
    assert (status, answer["ok"], answer["detail"]) == (401, False, {"reason": "revoked"})
    assert 'error="invalid_token"' in server.headers["www-authenticate"]
    assert server.local("GET", "/api/admin/keys/none")[0] == 404
    assert server.local("DELETE", "/api/admin/keys/none")[0] == 404


def test_a_checked_token_is_accepted_or_refused_with_a_reason(server: Server) -> None:
    def told(token: str) -> Json:
        status, answer = server.local("POST", "/api/admin/keys/check", {"token": token})
        assert status == 200
        return dict(answer["data"])

    key = server.issue("agent", "agent-7", site="berlin", expires="90d")
    accepted = told(key["token"])
    assert (accepted["accepted"], accepted["reason"]) == (True, None)
    assert accepted["key"] == {name: key[name] for name in accepted["key"]}
    for token in ("", "x", key["token"][:-2], "\u00e9"):
        assert told(token) == {"accepted": False, "reason": "malformed", "key": None}
    server.local("DELETE", f"/api/admin/keys/{key['id']}")
    assert told(key["token"])["reason"] == "revoked"
    ending = server.issue("agent", "agent-8", expires="1h")
    server.clock.forward(minutes=61)
    assert told(ending["token"])["reason"] == "expired"


def test_keys_are_listed_in_pages_without_tokens(server: Server) -> None:
    for number in range(3):
        server.issue("agent", f"agent-{number}")
    server.issue("partner", "p")
    status, answer = server.local("GET", "/api/admin/keys?role=agent&limit=2")
    assert (status, len(answer["data"])) == (200, 2)
    assert not any("token" in key for key in answer["data"])
    _, rest = server.local("GET", f"/api/admin/keys?role=agent&limit=2&cursor={answer['meta']['next']}")
    assert (len(rest["data"]), rest["meta"]) == (1, {"next": None})
    _, one = server.local("GET", "/api/admin/keys?subject=p")
    assert [key["role"] for key in one["data"]] == ["partner"]
    assert server.local("GET", "/api/admin/keys?role=root")[1]["detail"] == {"field": "role"}
    assert server.local("GET", "/api/admin/keys?limit=0")[0] == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"subject": "a"}, "role"),
        ({"role": "root", "subject": "a"}, "role"),
        ({"role": "agent", "subject": "self:x"}, "subject"),
        ({"role": "agent", "subject": "a b"}, "subject"),
        ({"role": "agent", "subject": "a", "expires": "soon"}, "expires"),
        ({"role": "agent", "subject": "a", "expires": 90}, "expires"),
        ({"role": "agent", "subject": "a", "site": "a b"}, "site"),
    ],
)
def test_a_bad_order_names_its_field(server: Server, body: Json, field: str) -> None:
    status, answer = server.local("POST", "/api/admin/keys", body)
    assert (status, answer["detail"]) == (400, {"field": field})


def test_partner_keys_have_the_public_servers_shape(server: Server) -> None:
    body = {"partnerName": " cisco ", "issuedBy": "ops", "expires": "1d"}
    status, answer = server.local("POST", "/api/admin/partner-keys", body)
    data = answer["data"]
    assert (status, data["partnerName"], data["clientId"]) == (201, "cisco", "partner:cisco")
    assert "not be retrievable again" in data["note"]
    assert server.ask("GET", "/agents", data["clientKey"])[1]["detail"]["role"] == "partner"
    _, log = server.local("GET", "/api/audit-log?action=key.issue")
    assert log["data"][0]["detail"]["issued_by"] == "ops"
    for name in ("", "x", "a b", "-x", "x" * 65):
        status, answer = server.local("POST", "/api/admin/partner-keys", {"partnerName": name})
        assert (status, answer["error"]) == (
            400,
            "partnerName must be 2-64 chars, alphanumeric + dash/underscore only",
        )


def test_a_stock_guard_registers_itself(server: Server) -> None:
    status, answer = server.ask("POST", "/api/clients/register", body={"clientId": "guard-laptop-1"})
    assert status == 201
    headers = {"authorization": f"Bearer {answer['data']['clientKey']}"}
    assert server.client.get("/readers", headers=headers).text == answer["data"]["subject"]
    status, answer = server.ask("POST", "/api/clients/register", body={"clientId": "short"})
    assert (status, answer["error"]) == (400, "clientId must be a string (8-128 chars)")
    status, answer = server.ask(
        "POST", "/api/clients/register", body={"clientId": "guard-laptop-1"}, x_test_address="192.0.2.9"
    )
    assert status == 403
    assert "[access]" in answer["error"]


def test_readers_are_local_or_have_any_key(server: Server) -> None:
    assert server.client.get("/readers").text == "anonymous"
    assert server.ask("GET", "/readers", x_test_address="192.0.2.9")[0] == 401
    assert server.ask("GET", "/readers", token="junk")[0] == 401
    for role in ("agent", "partner", "reviewer", "admin"):
        token = server.issue(role, role)["token"]
        headers = {"authorization": f"Bearer {token}", "x-test-address": "192.0.2.9"}
        assert server.client.get("/readers", headers=headers).text == role


def test_a_public_route_does_not_look_at_keys(server: Server) -> None:
    response = server.client.get("/everybody", headers={"authorization": "Bearer junk"})
    assert (response.status_code, response.text) == (200, "anonymous")


def test_too_fast_is_429_for_that_key_alone(server: Server) -> None:
    fast, calm = server.issue("agent", "fast")["token"], server.issue("agent", "calm")["token"]
    headers = {"authorization": f"Bearer {fast}"}
    assert [server.client.get("/agents", headers=headers).status_code for _ in range(6)] == [200] * 5 + [429]
    assert server.limits is not None
    assert (server.limits.limit, server.limits.remaining, server.limits.retry_after) == (5, 0, 12)
    response = server.client.get("/agents", headers=headers)
    assert (response.headers["retry-after"], response.json()["error"]) == ("12", "rate_limited")
    assert server.client.get("/agents", headers={"authorization": f"Bearer {calm}"}).status_code == 200
    server.clock.forward(seconds=12)
    assert server.client.get("/agents", headers=headers).status_code == 200


def test_a_wrong_role_is_charged_too(server: Server) -> None:
    token = server.issue("partner", "p")["token"]
    assert [server.ask("GET", "/agents", token)[0] for _ in range(3)] == [403, 403, 429]


def test_a_route_can_charge_for_some_answers_only(server: Server) -> None:
    headers = {"authorization": f"Bearer {server.issue('partner', 'p')['token']}"}
    assert {server.client.get("/free", headers=headers).status_code for _ in range(9)} == {200}
    answers = [server.client.get("/free?changed=1", headers=headers).status_code for _ in range(3)]
    assert answers == [200, 200, 429]
    assert server.client.get("/free", headers=headers).status_code == 200


def test_the_local_operator_is_admin_without_key_or_limit(server: Server) -> None:
    for _ in range(9):
        assert server.client.get("/agents", headers=LOCAL).text == "local (root)"
    assert server.client.get("/agents", headers={"x-test-local": "1"}).text == "local (unnamed)"
    assert server.client.get("/agents", headers={"x-threatcloud-operator": "root"}).status_code == 401


def test_the_audit_log_over_http(server: Server) -> None:
    admin = server.issue("admin", "chief")
    server.clock.forward(hours=1)
    body = {"role": "agent", "subject": "agent-7"}
    assert server.ask("POST", "/api/admin/keys", admin["token"], body, x_test_address="192.0.2.9")[0] == 201
    _, log = server.local("GET", "/api/audit-log?limit=1")
    entry = log["data"][0]
    assert (entry["actor"], entry["action"]) == (f"chief (key {admin['id']})", "key.issue")
    assert (entry["address"], entry["at"]) == ("192.0.2.9", "2026-04-17T11:30:00.124Z")
    _, rest = server.local("GET", f"/api/audit-log?cursor={log['meta']['next']}")
    assert [entry["actor"] for entry in rest["data"]] == ["local (root)"]
    for query, count in [
        ("actor=chief", 1),
        ("action=key.issue", 2),
        ("action=key.revoke", 0),
        ("since=2026-04-17T11:00:00Z", 1),
        ("since=2026-04-18", 0),
    ]:
        assert len(server.local("GET", f"/api/audit-log?{query}")[1]["data"]) == count, query
    assert server.local("GET", "/api/audit-log?since=monday")[1]["detail"] == {"field": "since"}
    _, report = server.local("GET", "/api/admin/audit/verify")
    assert report["data"] == {"entries": 2, "head": entry["hash"], "broken_at": None, "why": None}


def test_signing_keys_over_http(server: Server) -> None:
    _, before = server.local("GET", "/api/admin/signing-keys")
    assert [key["active"] for key in before["data"]] == [True] * 3
    old = next(key["kid"] for key in before["data"] if key["use"] == "rule")
    status, rotated = server.local("POST", "/api/admin/signing-keys/rule/rotate")
    assert (status, rotated["data"]["use"]) == (201, "rule")
    assert server.rotated == ["rule"]
    _, after = server.local("GET", "/api/admin/signing-keys")
    rules = [(key["kid"], key["active"]) for key in after["data"] if key["use"] == "rule"]
    assert rules == [(rotated["data"]["kid"], True), (old, False)]
    assert server.local("DELETE", f"/api/admin/signing-keys/{rotated['data']['kid']}")[0] == 409
    assert server.local("DELETE", f"/api/admin/signing-keys/{old}")[0] == 200
    assert server.local("DELETE", f"/api/admin/signing-keys/{old}")[0] == 404
    assert server.local("POST", "/api/admin/signing-keys/root/rotate")[0] == 400


def test_public_keys_need_no_key_and_match_each_other(server: Server) -> None:
    response = server.client.get("/.well-known/jwks.json")
    assert response.headers["cache-control"] == "public, max-age=300"
    assert response.headers["content-type"] == "application/jwk-set+json"
    listed = {key["threatcloud_use"]: key["x"] for key in response.json()["keys"]}
    for use in ("rule", "manifest"):
        pem = server.client.get(f"/.well-known/{use}-key.pem")
        assert pem.headers["content-type"] == "text/plain; charset=utf-8"
        der = base64.b64decode("".join(pem.text.splitlines()[1:-1]))
        assert base64.urlsafe_b64encode(der[-32:]).decode().rstrip("=") == listed[use]
    assert server.client.get("/.well-known/access-key.pem").status_code == 404
