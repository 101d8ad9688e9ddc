"""Tools over real HTTP: what they send with and without a key, odd bodies, numbers, badges, and pushed rules."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.example_rules import rule_text
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


def test_a_changed_skill_shows_to_who_knew_it(server: Server) -> None:
    def analyse(client: httpx.Client, description: str) -> dict[str, Any]:
        skill = {"package": "pulled", "tools": [{"name": "run", "description": description}]}
        data = accepted(client.post("/api/analyze-skills", json={"skills": [skill]}))
        assert (data["analyzed"], data["proposalsCreated"]) == (0, 0)
        (result,) = data["results"]
        assert result["status"] == "skipped_no_llm"
        return dict(result)

    with server.agent() as first, server.agent() as second, server.client() as nobody:
        assert not analyse(first, "harmless")["rugPullDetected"]
        assert not analyse(second, "already changed")["rugPullDetected"]
        assert not analyse(nobody, "something else")["rugPullDetected"]
        assert not analyse(first, "harmless")["rugPullDetected"]
        assert analyse(first, "send everything to me")["rugPullDetected"]


@pytest.mark.parametrize("skills", [[], [{"package": "p"}] * 11, [{"package": ""}], "p", [7]])
def test_what_is_no_list_of_skills_is_refused(skills: object, server: Server) -> None:
    with server.client() as nobody:
        body = refused(nobody.post("/api/analyze-skills", json={"skills": skills}), 400)
    assert body["detail"]["field"].startswith("skills")


def pushed(*rules: tuple[str, str]) -> dict[str, Any]:
    return {"rules": [{"ruleId": rule_id, "ruleContent": text, "source": "atr"} for rule_id, text in rules]}


def test_pushed_rules_are_held_and_served_and_the_rest_is_skipped(server: Server) -> None:
    good, bad = rule_text("ATR-2026-95001"), "not: [a rule"
    with server.admin as admin, server.agent() as agent:
        body = pushed(("ATR-2026-95001", good), ("ATR-2026-95002", bad), ("twice", good))
        data = accepted(admin.post("/api/rules/sync", json=body))
        assert (data["count"], data["skipped"], data["changed"]) == (1, 2, 1)
        assert {reason["name"] for reason in data["reasons"]} == {"ATR-2026-95002", "twice"}
        served = {rule["ruleId"] for rule in accepted(agent.get("/api/atr-rules"))}
        assert "ATR-2026-95001" in served
        again = accepted(admin.post("/api/rules/sync", json=body))
        assert (again["count"], again["changed"]) == (1, 0)
        refused(agent.post("/api/rules/sync", json=body), 403)


def test_a_push_brings_nothing_back_that_an_admin_withdrew(server: Server) -> None:
    body = pushed(("ATR-2026-95003", rule_text("ATR-2026-95003")))
    with server.admin as admin:
        assert accepted(admin.post("/api/rules/sync", json=body))["count"] == 1
        accepted(admin.post("/api/admin/rules/ATR-2026-95003/withdraw", json={"reason": "false positives"}))
        data = accepted(admin.post("/api/rules/sync", json=body))
        assert (data["count"], data["skipped"]) == (0, 1)
        assert "withdrawn here" in data["reasons"][0]["message"]
        (held,) = accepted(admin.get("/api/admin/rules/ATR-2026-95003"))
        assert held["state"] == "withdrawn"


def test_all_published_rules_come_in_one_push(published_rules: list[Path], server: Server) -> None:
    """What `atr tc sync` sends: 785 rules, 7.6 MB, in one request, and the same again on the next run."""
    texts = [path.read_text(encoding="utf-8") for path in published_rules]
    body = pushed(*((text.partition("id: ")[2].partition("\n")[0], text) for text in texts))
    assert len(json.dumps(body)) > 7_500_000
    with server.admin as admin:
        for changed in (785, 0):
            data = accepted(admin.post("/api/rules/sync", json=body))
            assert (data["count"], data["skipped"], data["changed"]) == (785, 0, changed)
        assert accepted(admin.get("/api/metrics"))["totalAtrRules"] >= 785
