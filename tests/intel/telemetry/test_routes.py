"""Reports of tools over real HTTP: with and without a key, with odd bodies, and the totals."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server import Server
from tests.web.answers import accepted, refused

UUID = "0f9d5cf4-3c6b-4a50-a4d1-5a8f3cbb0a11"
REPORTS: dict[str, tuple[dict[str, Any], int]] = {
    "/api/scan-events": (
        {"source": "cli-user", "skillsScanned": 3, "findingsCount": 2, "deviceHash": UUID},
        201,
    ),
    "/api/telemetry": (
        {"event": "skill_audit", "platform": "linux-x64", "skillCount": 0, "findingCount": 1, "severity": "high",
         "ts": "2026-04-17T00:00:00Z"},
        200,
    ),
    "/api/usage": ({"event_type": "cli_scan", "source": "cli-user", "metadata": {"skill": "secret"}}, 200),
    "/api/activations": (
        {"clientId": UUID, "platform": "claude-code", "osType": "linux", "panguardVersion": "1.4.7",
         "nodeVersion": "v20.20.2"},
        200,
    ),
    "/api/analyze-skills": ({"skills": [{"package": "demo", "tools": [{"name": "t", "description": "d"}]}]}, 200),
}  # fmt: skip
NUMBERS = ["/api/stats", "/api/metrics", "/api/version", "/api/badge/stats", "/api/badge/me/demo"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("tools"), consensus_cycle_seconds=86_400, limits_anonymous_per_minute=10_000
    ) as running:
        yield running


@pytest.mark.parametrize("path", REPORTS)
def test_a_tool_reports_with_a_key_and_without(path: str, server: Server) -> None:
    body, status = REPORTS[path]
    with server.client() as nobody, server.agent() as agent:
        for client in (nobody, agent, nobody):
            accepted(client.post(path, json=body), status)


@pytest.mark.parametrize("path", REPORTS)
def test_odd_bodies_are_read_or_refused_and_never_break_anything(path: str, server: Server) -> None:
    body, status = REPORTS[path]
    with server.client() as nobody:
        accepted(nobody.post(path, content=json.dumps(json.dumps(body))), status)
        accepted(nobody.post(path, json=body | {"unknown": [1, {"a": None}]}), status)
        text = json.dumps(body).replace('": "', r'": "\u0000\ud83d')
        accepted(nobody.post(path, content=text), status)
        for hostile in (b"null", b"7", b'"text"', b"true", b"[]", b"{}", b"", b"{", b"\xff", b"[" * 100_000):
            refused(nobody.post(path, content=hostile), 400)


@pytest.mark.parametrize("path", [*REPORTS, *NUMBERS])
def test_the_door_for_reports_without_a_key_can_be_shut(path: str, shut: Server) -> None:
    with shut.client() as nobody, shut.agent() as agent:
        if path in REPORTS:
            body, status = REPORTS[path]
            refused(nobody.post(path, json=body), 401)
            accepted(agent.post(path, json=body), status)
        else:
            refused(nobody.get(path), 401)
            assert agent.get(path).status_code == 200


@pytest.fixture(scope="module")
def shut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("shut"), access_anonymous_report="closed") as running:
        yield running


def test_totals_are_for_admins(server: Server) -> None:
    with server.agent() as agent, server.admin as admin:
        for path in ("/api/scan-events", "/api/telemetry", "/api/usage", "/api/activations"):
            refused(agent.get(path), 403)
            accepted(admin.get(path))
