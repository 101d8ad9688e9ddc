"""Statistics and badges over real HTTP."""

from collections.abc import Iterator

import pytest

from tests.example_rules import rule_text
from tests.server import Server
from tests.web.answers import accepted

UUID = "0f9d5cf4-3c6b-4a50-a4d1-5a8f3cbb0a11"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("statistics"),
        consensus_cycle_seconds=86_400,
        limits_anonymous_per_minute=10_000,
    ) as running:
        yield running


def test_numbers_are_those_of_what_was_sent(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        Server(tmp_path_factory.mktemp("numbers")) as server,
        server.client() as nobody,
        server.agent() as agent,
    ):
        for client, source in ((nobody, "cli-user"), (agent, "web-scanner")):
            body = {"source": source, "skillsScanned": 3, "findingsCount": 2, "deviceHash": UUID}
            accepted(client.post("/api/scan-events", json=body), 201)
        event = {"attackType": "x", "attackSourceIP": "unknown", "mitreTechnique": "T1059"}
        accepted(agent.post("/api/threats", json={"events": [event, event]}), 201)
        metrics = accepted(nobody.get("/api/metrics"))
        assert metrics["totalSkillsScanned"] == 6
        assert metrics["sources"]["web"] == {"skills": 3, "findings": 2, "devices": 1}
        assert metrics["totalThreatsDetected"] == 2
        stats = accepted(nobody.get("/api/stats"))
        assert (stats["totalThreats"], stats["last24hThreats"]) == (2, 2)
        assert stats["topAttackTypes"] == [{"type": "x", "count": 2}]
        assert stats["proposalStats"]["total"] == 0
        assert stats["totalRules"] == 0
        rules = [{"name": "a", "text": rule_text("ATR-2026-94001")}]
        with server.admin as admin:
            accepted(admin.post("/api/admin/rules/import", json={"rules": rules}))
        stats = accepted(nobody.get("/api/stats"))
        assert stats["totalRules"] == 1, "a publication shows at once"
        assert stats["rulesBySource"] == [{"source": "atr-community", "count": 1}]
        assert accepted(nobody.get("/api/version"))["environment"] == "private"


def test_a_badge_follows_the_lists(server: Server) -> None:
    def says(path: str) -> str:
        with server.client() as nobody:
            response = nobody.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"] == "image/svg+xml"
        return response.text

    assert "Not Yet Scanned" in says("/api/badge/me/blocked-skill")
    with server.admin as admin:
        accepted(admin.post("/api/skill-blacklist", json={"skillName": "Blocked Skill"}), 201)
    assert "CRITICAL" in says("/api/badge/me/blocked-skill")
    assert "CRITICAL" in says("/api/badge/me/Blocked%20Skill")
    assert "<script" not in says("/api/badge/%3Cscript%3E/%22onload%3D1")
    with server.client() as nobody:
        assert accepted(nobody.get("/api/badge/stats"))["critical"] >= 0


def test_reports_of_one_agent_turn_no_badge(server: Server) -> None:
    report = {"skillHash": "ab" * 8, "skillName": "smeared", "riskScore": 100, "riskLevel": "CRITICAL"}
    with server.agent() as agent, server.client() as nobody:
        for number in range(5):
            headers = {"X-Panguard-Client-Id": f"client-{number}"}
            accepted(agent.post("/api/skill-threats", json=report, headers=headers), 201)
            accepted(nobody.post("/api/skill-threats", json=report, headers=headers), 201)
        assert "Not Yet Scanned" in nobody.get("/api/badge/me/smeared").text
