"""The server held against its own OpenAPI description, with thousands of requests that fit it and that do not."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks

from app.web.api_contract import CONTRACTS, JSON
from tests.example_rules import proposal, rule_text
from tests.server import Server
from tests.web.answers import accepted

DESCRIPTION = "/api/openapi/openapi.json"
KNOWN = {"pattern_hash": "fuzz:known", "rule_id": "ATR-2026-92001", "serial": 1}
"""What is there, so that some requests reach something."""

EXAMPLES = {"admin": 30, "agent": 12}
"""For each route and each of two modes; most of what an agent sends ends at the guard."""


@pytest.fixture(scope="module")
def sessions(server: Server) -> Iterator[dict[str, requests.Session]]:
    """One for each key; there are a proposal and a rule."""
    tokens = {"admin": server.admin_token, "agent": server.issue("agent")}
    with server.client(tokens["agent"]) as agent, server.admin as admin:
        accepted(agent.post("/api/atr-proposals", json=proposal("fuzz:known", rule_text())), 201)
        files = [{"name": "a.yaml", "text": rule_text("ATR-2026-92001")}]
        accepted(admin.post("/api/admin/rules/import", json={"rules": files}))
    opened = {name: requests.Session() for name in tokens}
    for name, session in opened.items():
        session.headers["Authorization"] = f"Bearer {tokens[name]}"
    yield opened
    for session in opened.values():
        session.close()


@pytest.fixture(scope="module")
def schema(server: Server) -> Any:
    """What the running server says of itself."""
    return schemathesis.openapi.from_url(server.url + DESCRIPTION)


def test_the_description_is_valid_and_reachable_for_everybody(server: Server, schema: Any) -> None:
    schema.validate()
    with server.client() as nobody:
        response = nobody.get(DESCRIPTION)
    assert response.headers["content-type"].startswith("application/json")
    described = {
        f"{method.upper()} {path}"
        for path, operations in response.json()["paths"].items()
        for method in operations
    }
    assert described == set(CONTRACTS)


@pytest.mark.parametrize("who", EXAMPLES)
@pytest.mark.parametrize("label", CONTRACTS)
def test_no_request_breaks_a_promise(
    label: str, who: str, server: Server, schema: Any, sessions: dict[str, requests.Session]
) -> None:
    method, _, path = label.partition(" ")
    operation = schema[path][method]
    for mode in modes(label):
        fuzz(operation, mode, EXAMPLES[who], lambda case: send(case, label, server, sessions[who]))


def modes(label: str) -> list[GenerationMode]:
    """Nothing can be wrong with a request that has no part to vary, and a key that is not even looked at."""
    contract = CONTRACTS[label]
    varies = "{" in label or contract.body is not None or contract.query
    return list(GenerationMode) if varies else [GenerationMode.POSITIVE]


def fuzz(operation: Any, mode: GenerationMode, examples: int, send_one: Callable[[Any], None]) -> None:
    """Send that many requests, the same ones in each run."""

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), is_known=st.booleans())
    def run(case: Any, is_known: bool) -> None:
        if is_known:
            case.path_parameters = {
                name: KNOWN.get(name, value) for name, value in (case.path_parameters or {}).items()
            }
        send_one(case)

    run()


def send(case: Any, label: str, server: Server, session: requests.Session) -> None:
    response = case.call(base_url=server.url, session=session)
    case.validate_response(
        response,
        checks=[
            checks.not_a_server_error,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_schema_conformance,
        ],
    )
    (identity,) = response.headers["x-request-id"]
    if response.status_code == 304:
        assert response.content == b""
    elif response.status_code >= 400 or CONTRACTS[label].media == JSON:
        body = json.loads(response.content)
        assert body["ok"] is (response.status_code < 400)
        assert body["request_id"] == identity
