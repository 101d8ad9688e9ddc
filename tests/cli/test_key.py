"""`threatcloud key`: what it does, and how it refuses."""

from typing import Any

import pytest

from tests.flows.fleet import poll
from tests.server import Server


def test_a_key_works_at_once_and_not_after_its_revocation(server: Server) -> None:
    token = server.cli("key", "issue", "--role", "agent", "--subject", "cli-agent").stdout.strip()
    with server.client(token) as agent:
        poll(agent)
        (listed,) = server.cli_json("key", "list", "--subject", "cli-agent")
        assert (listed["role"], listed["revokedAt"]) == ("agent", None)
        assert token not in server.cli("key", "list").stdout
        server.cli("key", "revoke", listed["id"])
        refused = agent.get("/api/atr-rules")
    assert refused.status_code == 401
    assert "www-authenticate" in refused.headers
    (listed,) = server.cli_json("key", "list", "--subject", "cli-agent", "--role", "agent")
    assert listed["revokedAt"] is not None
    actions = {e["action"]: e for e in server.cli_json("audit", "list") if e["target"] == listed["id"]}
    assert {"key.issue", "key.revoke"} <= actions.keys()
    assert actions["key.revoke"]["actor"].startswith("local (")
    assert actions["key.revoke"]["address"] == "local"


@pytest.mark.parametrize(
    ("expires", "prefix"),
    [("90d", None), ("12h", None), ("30m", None), ("2099-12-31T00:00:00Z", "2099-12-31T00:00:00.000Z")],
)
def test_expiry_is_a_span_or_an_instant(server: Server, expires: str, prefix: str | None) -> None:
    issued = issue(server, "--expires", expires)
    assert issued["expiresAt"] > issued["issuedAt"]
    assert prefix is None or issued["expiresAt"] == prefix


@pytest.mark.parametrize("expires", ["soon", "-1d", "0d", "90", "2020-01-01T00:00:00Z", ""])
def test_a_bad_expiry_is_named(server: Server, expires: str) -> None:
    done = server.cli(
        "key", "issue", "--role", "agent", "--subject", "never", "--expires", expires, check=False
    )
    assert done.returncode == 1
    assert "Error: expires: " in done.stderr
    assert server.cli_json("key", "list", "--subject", "never") == []


def issue(server: Server, *options: str) -> dict[str, Any]:
    done: dict[str, Any] = server.cli_json(
        "key", "issue", "--role", "agent", "--subject", "expiring", *options
    )
    return done
