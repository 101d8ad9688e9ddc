"""The server held against its own OpenAPI description, with thousands of requests that fit it and that do not."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks
from schemathesis.transport.serialization import Binary

from app.access.principal import Role
from tests.bundles.exporter import Exporter, pem_of
from tests.example_rules import proposal, rule_text
from tests.federation.harness import Folder
from tests.server import Server
from tests.web.answers import accepted, defects, eventually
from tests.web.conftest import UNLIMITED
from tests.web.routes import all_operations, all_promises

DESCRIPTION = "/api/openapi/openapi.json"
PROMISES = all_promises()
RELEASE, ROLLBACK = "/api/publications/release", "/api/publications/{serial}/rollback"


def turn(label: str) -> tuple[int, str]:
    """When a route is tried: reads first, and last what takes away; a rollback comes before its release."""
    method, _, path = label.partition(" ")
    path = f"{ROLLBACK}, then release" if path == RELEASE else path
    return ["GET", "PATCH", "POST", "PUT", "DELETE"].index(method), path


LABELS = sorted(PROMISES, key=turn)
EXAMPLES = {"admin": 30, "agent": 12}
"""For each route and each of two modes."""
EXAMPLES_FOR_A_GUARD = 3
"""For routes that one may not call: the guard answers before anything of the request but its path is read."""
FORBIDDEN = {
    (who, str(operation))
    for who, operation in product(EXAMPLES, all_operations())
    if operation.roles and Role(who) not in operation.roles
}

RULE_ID = "ATR-2026-92001"
PROPOSALS = {
    "approve": "fuzz:approve",
    "reject": "fuzz:reject",
    "text": "fuzz:text",
    "reopen": "fuzz:reject",
    "withdraw": "fuzz:served",
}
"""Which proposal is ready for a decision, by the last part of its route."""

UPSTREAMS = """\
[[upstream]]
name = "outside"
kind = "bundle"
key_file = "{folder}/exporter.pem"

[[upstream]]
name = "inside"
kind = "directory"
path = "{folder}/rules"
policy = "review"
"""

HELD_ID = "ATR-2026-92004"
"""What the upstream `inside` offers, and nobody has approved."""

BODY = {
    "role": "agent",
    "subject": "fuzz",
    "expires": "1d",
    "site": "hq",
    "partnerName": "fuzz",
    "clientId": "host-0815",
    "patternHash": "fuzz:known",
    "ruleContent": rule_text(),
    "ruleId": RULE_ID,
    "hostname": "fuzz",
    "skillName": "fuzz-skill",
    "riskLevel": "HIGH",
    "value": "192.0.1.1",
    "rules": [{"name": "a.yaml", "text": rule_text(RULE_ID)}],
    "text": rule_text(RULE_ID),
}
"""Values of members that only a few of all texts fit."""


@dataclass
class Instance:
    """What is there, so that some requests reach something, and what became of all requests."""

    url: str
    sessions: dict[str, requests.Session]
    path: dict[str, Any]
    bundle: bytes
    succeeded: set[str] = field(default_factory=set)

    def known(self, case: Any, label: str) -> None:
        """Let a request name what is there."""
        path = self.path | {"pattern_hash": PROPOSALS.get(label.rpartition("/")[2], "fuzz:known")}
        if "/upstreams/" in label:
            path["rule_id"] = HELD_ID
        case.path_parameters = {
            name: path.get(name, value) for name, value in (case.path_parameters or {}).items()
        }
        if isinstance(case.body, dict) and "/upstreams/" in label:  # of everything that is held
            case.body = {name: value for name, value in case.body.items() if name == "reason"}
        elif isinstance(case.body, dict):
            case.body = {name: BODY.get(name, value) for name, value in case.body.items()}
        elif isinstance(case.body, Binary):
            case.body = Binary(self.bundle)
        if "/bundles/" in label:  # whole, and without force
            case.query = {}


@pytest.fixture(scope="module")
def exporter() -> Exporter:
    """Another instance, of which there are only bundles."""
    made = Exporter()
    made.publish(rule_text("ATR-2026-92003"))
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, exporter: Exporter) -> Iterator[Server]:
    """As in the other modules of this folder, with upstreams."""
    folder = tmp_path_factory.mktemp("instance")
    Folder(folder / "rules").offer([HELD_ID])
    (folder / "exporter.pem").write_bytes(pem_of(exporter.key))
    with Server(folder, config=UPSTREAMS.format(folder=folder), **UNLIMITED) as running:
        yield running
        assert defects(running) == []


@pytest.fixture(scope="module")
def instance(server: Server, exporter: Exporter) -> Iterator[Instance]:
    """An instance with proposals, one of them served, a rule, a key and an old signing key."""
    tokens = {"admin": server.admin_token, "agent": server.issue("agent", "fuzz-agent")}
    served = proposal("fuzz:served", rule_text("ATR-2026-92002"))
    with server.client(tokens["agent"]) as agent, server.admin as admin:
        for name in ("fuzz:known", "fuzz:approve", "fuzz:reject", "fuzz:text"):
            accepted(agent.post("/api/atr-proposals", json=proposal(name, rule_text())), 201)
        for _ in range(3):
            with server.agent() as scanner:
                accepted(scanner.post("/api/atr-proposals", json=served), 200, 201)
        assert accepted(admin.post("/api/admin/promote"))["promoted"] == ["fuzz:served"]
        accepted(admin.post("/api/admin/rules/import", json={"rules": BODY["rules"]}))
        key = accepted(admin.post("/api/admin/keys", json={"role": "agent", "subject": "fuzz"}), 201)
        entry = {"action": "disable", "ruleId": "ATR-2026-92003", "reason": "fuzz"}
        overlay = accepted(admin.post("/api/admin/overlay", json=entry), 201)
        for skills in ("/api/skill-blacklist", "/api/skill-whitelist"):
            accepted(admin.post(skills, json={"skillName": "fuzz-skill"}), 201)
        (agent_key,) = accepted(admin.get("/api/admin/keys", params={"subject": "fuzz-agent"}))
        kids = [key["kid"] for key in accepted(admin.get("/api/admin/signing-keys")) if key["use"] == "rule"]
        accepted(admin.post("/api/admin/signing-keys/rule/rotate"), 201)
        eventually(lambda: accepted(admin.get("/api/admin/upstreams/inside"))["held"], 30)
    path = {
        "name": "inside",
        "pattern_hash": "fuzz:known",
        "rule_id": RULE_ID,
        "agent_id": agent_key["id"],
        "subject": "fuzz-agent",
        "serial": 1,
        "entry_id": overlay["id"],
        "key_id": key["id"],
        "kid": kids[0],
    }
    opened = {name: requests.Session() for name in tokens}
    for name, session in opened.items():
        session.headers["Authorization"] = f"Bearer {tokens[name]}"
    yield Instance(server.url, opened, path, exporter.bundle())
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
    assert described == set(PROMISES)


@pytest.mark.parametrize("who", EXAMPLES)
@pytest.mark.parametrize("label", LABELS)
def test_no_request_breaks_a_promise(label: str, who: str, schema: Any, instance: Instance) -> None:
    method, _, path = label.partition(" ")
    operation = schema[path][method]
    for mode in modes(label):

        def send_one(case: Any, is_known: bool, mode: GenerationMode = mode) -> None:
            if is_known and mode is GenerationMode.POSITIVE:
                instance.known(case, label)
            send(case, label, instance, instance.sessions[who])

        fuzz(operation, mode, EXAMPLES_FOR_A_GUARD if (who, label) in FORBIDDEN else EXAMPLES[who], send_one)


def test_every_route_had_its_success(instance: Instance) -> None:
    """So every answer that is described was held against its description at least once."""
    assert sorted(set(PROMISES) - instance.succeeded) == []


def modes(label: str) -> list[GenerationMode]:
    """Nothing can be wrong with a request that has no part to vary."""
    promise = PROMISES[label]
    varies = "{" in label or promise.takes_body or promise.takes_query
    return list(GenerationMode) if varies else [GenerationMode.POSITIVE]


def fuzz(operation: Any, mode: GenerationMode, examples: int, send_one: Callable[[Any, bool], None]) -> None:
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
        send_one(case, is_known)

    run()


def send(case: Any, label: str, instance: Instance, session: requests.Session) -> None:
    response = case.call(base_url=instance.url, session=session)
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
    if response.status_code < 300:
        instance.succeeded.add(label)
    if response.status_code == 304:
        assert response.content == b""
    elif response.status_code >= 400 or PROMISES[label].is_enveloped:
        body = json.loads(response.content)
        assert body["ok"] is (response.status_code < 400)
        assert body["request_id"] == identity
