"""What only Guards newer than the published ones do, in a program of our own (`newest_gates.mjs`)."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.rules.yaml_text import parse_yaml
from tests.clients.host import Host
from tests.example_rules import rule_text
from tests.flows.fleet import instance, new_id
from tests.published import COUNT, published_rules_folder
from tests.server import Server

LEAST = 731
"""Of the 785 published rules, so many pass the newest Guard's gates once `(?i)` is off their patterns (measured)."""

MAX_RULES = 500
JWE = "eyJhbGciOiJFQ0RILUVTIn0..aXY.Y2lwaGVy.dGFn"
SEALED = {"v": 1, "alg": "ECDH-ES+A256GCM", "kid": "ingest-2026-07", "jwe": JWE}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An instance that serves the 785 published rules as its own."""
    folder = tmp_path_factory.mktemp("published")
    with instance(folder, consensus_cycle_seconds=86_400) as running:
        running.cli("rule", "import", str(published_rules_folder()))
        yield running


def newest(server: Server, folder: Path, *posts: list[Any], path: str = "/api/atr-rules", **more: Any) -> Any:
    """Let a newest Guard pull from `path` and send `posts`."""
    with server.client() as nobody:
        pem = nobody.get("/.well-known/rule-key.pem").text
    host = Host(folder / "host", PANGUARD_RULE_PUBKEY=pem)
    given = {"url": server.url, "key": server.issue("agent"), "path": path, "known": [], "posts": posts}
    return host.call("newest_gates.mjs", given | more)


def test_at_least_731_published_rules_load_and_every_signature_verifies(
    published: Server, tmp_path: Path
) -> None:
    told = newest(published, tmp_path)
    assert set(told["outcomes"].values()) == {""}, "what no Guard would load is not served to Guards"
    assert LEAST <= len(told["outcomes"]) <= COUNT
    assert len(told["loaded"]) == MAX_RULES

    as_written = newest(published, tmp_path, path="/api/atr-rules?format=yaml")["outcomes"]
    assert Counter(as_written.values()) == {"not JSON": COUNT}, (
        "all signatures verify, and YAML is nothing to a Guard"
    )


def test_what_a_guard_knows_already_is_left_out(published: Server, tmp_path: Path) -> None:
    known = [*newest(published, tmp_path)["outcomes"]][:3]
    outcomes = newest(published, tmp_path, known=known)["outcomes"]
    assert [rule_id for rule_id, outcome in outcomes.items() if outcome == "known id"] == known


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("send the key", ""),
        ("(?i)send the key", "does not compile"),
        ("a" * 2001, "long pattern"),
        ("(a+)+b", "nested quantifier"),
    ],
)
def test_the_gates_drop_what_they_should(server: Server, tmp_path: Path, pattern: str, reason: str) -> None:
    """JSON is YAML, so `format=yaml` serves a rule that was written as JSON unchanged, and signed."""
    written = parse_yaml(rule_text(rule_id := new_id()))
    assert isinstance(written, dict)
    written["detection"]["conditions"][0]["value"] = pattern
    text = json.dumps(written)
    with server.admin as admin:
        body = {"rules": [{"name": "rule.json", "text": text}]}
        assert admin.post("/api/admin/rules/import", json=body).status_code == 200
    assert newest(server, tmp_path, path="/api/atr-rules?format=yaml")["outcomes"][rule_id] == reason
    assert newest(server, tmp_path)["outcomes"].get(rule_id, "not served") in {"", "not served"}


def test_another_key_verifies_nothing(published: Server, tmp_path: Path) -> None:
    with published.client() as nobody:
        other = nobody.get("/.well-known/manifest-key.pem").text
    host = Host(tmp_path / "host", PANGUARD_RULE_PUBKEY=other)
    given = {
        "url": published.url,
        "key": published.issue("agent"),
        "path": "/api/atr-rules",
        "known": [],
        "posts": [],
    }
    assert set(host.call("newest_gates.mjs", given)["outcomes"].values()) == {"signature"}


def test_what_only_they_send_is_accepted(server: Server, tmp_path: Path) -> None:
    posts: list[list[Any]] = [
        ["/api/threats", {"sealed": SEALED}],
        ["/api/skill-whitelist", json.dumps({"skills": [{"skillName": "adder", "fingerprintHash": "ab12"}]})],
        [
            "/api/scan-events",
            {"source": "cli-user", "skillsScanned": 1, "findingsCount": 0, "deviceHash": "d"},
        ],
        ["/api/clients/register", {"clientId": "0f9d5cf4-3c6b-4a50-a4d1-5a8f3cbb0a11"}],
        ["/api/api/threats", {"sealed": SEALED}],
    ]
    told = newest(server, tmp_path, *posts)["posts"]
    assert [status for status, _ in told if not 200 <= status < 300] == [], told
    threats, whitelist, _, registered, _ = (json.loads(answer)["data"] for _, answer in told)
    assert threats["sealed"] == 1
    assert whitelist["count"] == 1
    assert registered["clientKey"]
    with server.admin as admin:
        trusted = {skill["normalizedName"] for skill in admin.get("/api/skill-whitelist/all").json()["data"]}
        kept = admin.get("/api/threats", params={"limit": 500}).text
    assert "adder" in trusted
    assert JWE not in kept
