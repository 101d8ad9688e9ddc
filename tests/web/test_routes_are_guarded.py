"""Every route says whom it serves, and without a key the server serves only what is listed here."""

import re

import httpx
import pytest
from litestar.routes import HTTPRoute

from app.access.principal import Role
from app.access.route_guards import Guard
from app.config import Config
from app.web.application import create_application
from tests.server import REPOSITORY, Server
from tests.web.answers import accepted, refused
from tests.web.routes import Operation, all_operations, all_promises

OPEN = {
    "GET /health",
    "GET /ready",
    "GET /.well-known/jwks.json",
    "GET /.well-known/rule-key.pem",
    "GET /.well-known/manifest-key.pem",
    "GET /api/openapi",
    "GET /api/openapi/api.css",
    "GET /api/openapi/openapi.json",
    "POST /api/clients/register",
    "POST /api/agents/register",
}
"""What anybody may ask; registration asks its own policy."""

OPEN_BY_POLICY = {
    "GET /api/atr-rules",
    "GET /api/rules",
    "GET /api/publications/current",
    "GET /api/skill-blacklist",
    "GET /api/skill-whitelist",
    "GET /api/feeds/ip-blocklist",
    "GET /api/feeds/domain-blocklist",
}
"""What `access.anonymous_read` may open."""

OPEN_TO_MONITORS = {"GET /metrics"}
"""What `access.metrics_networks` opens, this host by default (tests/web/test_metrics.py)."""

OPEN_TO_REPORTS = {
    "POST /api/threats",
    "POST /api/trap-intel",
    "POST /api/skill-threats",
    "POST /api/scan-events",
    "POST /api/telemetry",
    "POST /api/usage",
    "POST /api/activations",
    "POST /api/analyze-skills",
    "GET /api/stats",
    "GET /api/metrics",
    "GET /api/version",
    "GET /api/badge/stats",
    "GET /api/badge/{author}/{skill}",
}
"""What `access.anonymous_report` may open: numbers, and reports that count for nobody."""

OPERATIONS = all_operations()
PROMISES = all_promises()
GUARDED = [operation for operation in OPERATIONS if operation.roles and not operation.monitor]


def handlers() -> list[tuple[str, list[Guard]]]:
    """`METHOD path` and the guards of every handler, Litestar's OPTIONS left out."""
    found = []
    for route in sorted(create_application(Config()).litestar.routes, key=lambda route: route.path):
        assert isinstance(route, HTTPRoute), "only plain HTTP routes are known to be guarded"
        for method, (handler, _) in sorted(route.route_handler_map.items()):
            if method != "OPTIONS":
                named = [*handler.resolve_guards(), handler.opt.get("guard")]
                guards = [guard for guard in named if isinstance(guard, Guard)]
                assert len(guards) == len([guard for guard in named if guard is not None]), "a foreign guard"
                found.append((f"{method} {route.path_format}", guards))
    return found


@pytest.mark.parametrize(
    ("name", "guards"), handlers(), ids=lambda part: part if isinstance(part, str) else ""
)
def test_every_route_has_exactly_one_guard(name: str, guards: list[Guard]) -> None:
    assert len(guards) == 1
    (guard,) = guards
    assert bool(guard.roles) == (name not in OPEN)
    assert guard.reader == (name in OPEN_BY_POLICY)
    assert guard.reporter == (name in OPEN_TO_REPORTS)
    assert guard.monitor == (name in OPEN_TO_MONITORS)


def test_the_lists_above_name_real_routes() -> None:
    assert {name for name, _ in handlers()} >= OPEN | OPEN_BY_POLICY | OPEN_TO_REPORTS | OPEN_TO_MONITORS


def documented() -> dict[str, str]:
    """`METHOD path` and whom `docs/api.md` says that it serves."""
    found = {}
    for row in (REPOSITORY / "docs" / "api.md").read_text().splitlines():
        cells = row.replace(r"\|", "").split("|")
        if len(cells) > 3:
            for name in re.findall(r"`([A-Z]+ /[^`]+)`", cells[1]):
                found[name] = cells[2].strip()
    return found


def test_every_route_serves_whom_the_documents_say() -> None:
    """The roles are written down twice, by hand: a role that got in by mistake shows here."""
    for operation in OPERATIONS:
        who = documented()[str(operation)]
        if operation.reader or operation.reporter or operation.monitor:
            keys = "any key" if operation.roles == set(Role) else ", ".join(sorted(operation.roles))
            assert who == f"{keys}; without one by policy", operation
        elif not operation.roles:
            assert who in {"everybody", "by policy"}, operation
        else:
            assert set(who.split(", ")) == operation.roles, operation


def test_only_get_is_open_by_policy() -> None:
    """Nobody changes anything without a key, but for reports that only count."""
    assert all(o.method == "GET" for o in OPERATIONS if o.reader or o.monitor)


@pytest.mark.parametrize("operation", GUARDED, ids=str)
def test_without_a_key_it_answers_401(operation: Operation, server: Server) -> None:
    with httpx.Client(base_url=server.url, verify=False) as nobody:
        response = nobody.request(operation.method, operation.filled)
        assert refused(response, 401)["detail"] == {"reason": "missing"}
        assert response.headers["www-authenticate"].startswith("Bearer ")
        if operation.method == "GET":
            assert nobody.head(operation.filled).status_code == 401


@pytest.mark.parametrize("name", sorted(name for name in OPEN if name.startswith("GET ")))
def test_without_a_key_the_open_ones_answer(name: str, server: Server) -> None:
    with httpx.Client(base_url=server.url, verify=False) as nobody:
        response = nobody.get(name.removeprefix("GET "))
    assert response.status_code == 200
    assert "no-store" in response.headers["cache-control"] or "public" in response.headers["cache-control"]


def test_every_route_is_described_and_nothing_else() -> None:
    assert {str(operation) for operation in OPERATIONS} == set(PROMISES)


def test_the_description_says_who_may(server: Server) -> None:
    with server.client() as nobody:
        paths = nobody.get("/api/openapi/openapi.json").json()["paths"]
    for operation in OPERATIONS:
        security = paths[operation.path][operation.method.lower()]["security"]
        needs_key, may_have_none = {"key": []} in security, {} in security
        assert needs_key == (str(operation) not in OPEN)
        assert may_have_none == (operation.reader or operation.reporter or operation.monitor)


def with_and_without_body() -> list[Operation]:
    """But for those that take a file, of which any bytes can be one."""
    return [o for o in OPERATIONS if o.method != "GET" and not PROMISES[str(o)].takes_file]


@pytest.mark.parametrize("operation", with_and_without_body(), ids=str)
def test_the_description_knows_which_routes_read_a_body(operation: Operation, server: Server) -> None:
    """A route that reads one refuses null; one that reads none does not look."""
    role = "admin" if not operation.roles else min(operation.roles)
    with server.client(server.issue(role)) as client:
        response = client.request(operation.method, operation.filled, content=b"null")
    reads = response.status_code == 400 and "must be a JSON object" in response.text
    assert reads == PROMISES[str(operation)].takes_body, response.text


def test_the_open_door_for_registration_can_be_shut(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("closed")
    with Server(folder, access_registration="closed") as closed, closed.client() as nobody:
        refused(nobody.post("/api/clients/register", json={"clientId": "host-0815"}), 403)
        refused(nobody.post("/api/agents/register", json={"hostname": "host-0815"}), 403)
        accepted(nobody.get("/health"))
