"""A client that `openapi-python-client` makes of the document of a running server, used against that server."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.example_rules import proposal, rule_text
from tests.server import Server

GENERATOR = Path(sys.executable).with_name("openapi-python-client")
CONFIG = {"content_type_overrides": {"image/svg+xml": "text/plain"}, "post_hooks": []}
"""An image is text to the generator, as docs/api.md says; what it wrote is not formatted, since nobody reads it."""
PACKAGE = "generated_threatcloud_client"


class GeneratedClient:
    """The package: its operations by the name of their module, its models, and clients with a key."""

    def __init__(self, server: Server) -> None:
        self.package: Any = importlib.import_module(PACKAGE)
        self.models: Any = importlib.import_module(f"{PACKAGE}.models")
        self.url = server.url

    def operation(self, name: str) -> Any:
        """The module of an operation, such as `get_health`."""
        return importlib.import_module(f"{PACKAGE}.api.default.{name}")

    def with_key(self, token: str) -> Any:
        """A client that sends this key, and raises an error for a status that the document does not name."""
        return self.package.AuthenticatedClient(self.url, token, raise_on_unexpected_status=True)


@pytest.fixture(scope="module")
def generated(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GeneratedClient]:
    """The client, generated without a warning."""
    folder = tmp_path_factory.mktemp("generated")
    config = folder / "config.json"
    config.write_text(json.dumps(CONFIG))
    done = subprocess.run(
        [
            *(GENERATOR, "generate", "--fail-on-warning", "--meta", "none", "--config", config),
            *("--url", f"{server.url}/api/openapi/openapi.json", "--output-path", folder / PACKAGE),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "warning" not in output.lower(), output
    assert "unable" not in output.lower(), output
    sys.path.insert(0, str(folder))
    try:
        yield GeneratedClient(server)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def admin(generated: GeneratedClient, server: Server) -> Any:
    return generated.with_key(server.admin_token)


@pytest.fixture(scope="module")
def agent(generated: GeneratedClient, admin: Any) -> Any:
    """A client with a key that the generated client issued."""
    body = generated.models.NewKey(role=generated.models.Role.AGENT, subject="generated-1")
    issued = generated.operation("post_api_admin_keys").sync(client=admin, body=body).data
    assert (issued.role, issued.subject) == (generated.models.Role.AGENT, "generated-1")
    return generated.with_key(issued.token)


def test_every_operation_of_the_document_is_generated(generated: GeneratedClient, server: Server) -> None:
    with server.client() as nobody:
        paths = nobody.get("/api/openapi/openapi.json").json()["paths"]
    folder = Path(generated.package.__file__).parent / "api" / "default"
    modules = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    assert len(modules) == sum(map(len, paths.values()))
    for module in modules:
        assert callable(generated.operation(module).sync_detailed)


def test_proposals_are_made_and_listed_page_by_page(
    generated: GeneratedClient, admin: Any, agent: Any
) -> None:
    names = [f"generated:{number}" for number in range(5)]
    propose = generated.operation("post_api_atr_proposals")
    for number, name in enumerate(names):
        text = rule_text(f"ATR-2026-9100{number}", pattern=f"show me the {name} secret")
        body = generated.models.NewProposal.from_dict(proposal(name, text))
        made = propose.sync_detailed(client=agent, body=body, x_panguard_client_id="generated-client")
        assert made.status_code == 201
        assert made.parsed.data.pattern_hash == name
        assert made.parsed.data.status is generated.models.Status.PENDING
    again = propose.sync_detailed(client=agent, body=body)
    assert (again.status_code, again.parsed.data.pattern_hash) == (200, names[-1])

    proposals = generated.operation("get_api_atr_proposals")
    pages = []
    cursor = generated.package.types.UNSET
    while cursor is not None:
        page = proposals.sync(client=admin, limit=2, status=generated.models.Status.PENDING, cursor=cursor)
        pages.append([shown.pattern_hash for shown in page.data])
        cursor = page.meta["next"]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(name for page in pages for name in page) == names


def test_rules_are_polled_until_something_is_new(generated: GeneratedClient, agent: Any) -> None:
    poll = generated.operation("get_api_atr_rules")
    first = poll.sync_detailed(client=agent, category="tool-poisoning")
    assert first.status_code == 200
    assert isinstance(first.parsed.data, list)
    etag = first.headers["ETag"]
    second = poll.sync_detailed(client=agent, category="tool-poisoning", if_none_match=etag)
    assert (second.status_code, second.parsed) == (304, None)


def test_an_audit_entry_a_health_and_a_badge_are_read(
    generated: GeneratedClient, admin: Any, agent: Any
) -> None:
    entries = generated.operation("get_api_audit_log").sync(client=admin, limit=500).data
    assert "generated-1" in json.dumps([entry.to_dict() for entry in entries])
    assert generated.operation("get_health").sync(client=agent).data.status
    badge = generated.operation("get_api_badge_author_skill").sync("acme", "unknown", client=agent)
    assert badge.startswith("<svg")


def test_a_refusal_is_an_answer_of_its_own_type(generated: GeneratedClient, agent: Any) -> None:
    refused = generated.operation("get_api_audit_log").sync_detailed(client=agent)
    assert refused.status_code == 403
    assert isinstance(refused.parsed, generated.models.Refusal)
    assert refused.parsed.ok is False
    assert refused.parsed.detail["allowed"]
    body = generated.models.NewProposal.from_dict(proposal("", rule_text()))
    wrong = generated.operation("post_api_atr_proposals").sync_detailed(client=agent, body=body)
    assert wrong.status_code == 400
    assert wrong.parsed.detail["field"] == "patternHash"
    assert wrong.parsed.request_id == wrong.headers["X-Request-Id"]
    stranger = generated.with_key("nothing")
    assert generated.operation("get_api_atr_rules").sync_detailed(client=stranger).status_code == 401
