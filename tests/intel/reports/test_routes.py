"""Reports over HTTP, as stock clients send them, and what becomes of them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.server import Server
from tests.web.answers import accepted, defects, refused

CLIENT_ID = "8c1f0a52-6b55-4f0e-9a0d-0d5a7c1b2e3f"
GUARD_EVENT = {
    "attackSourceIP": "45.83.64.77",
    "attackType": "prompt_injection",
    "mitreTechnique": "AML.T0051",
    "sigmaRuleMatched": "ATR-2026-00001,ATR-2026-00002",
    "timestamp": "2026-04-17T00:42:31.124Z",
    "region": "DE",
    "atrRulesMatched": ["ATR-2026-00003"],
    "atrCategory": "prompt-injection",
}
ATR_EVENT = {
    "attackSourceIP": CLIENT_ID,
    "attackType": "tool-poisoning",
    "mitreTechnique": "ATR-2026-00010",
    "sigmaRuleMatched": "ATR-2026-00010",
    "timestamp": "2026-04-17T00:42:31.124Z",
    "region": "unknown",
    "severity": "high",
    "confidence": 0.87,
    "contentHash": "2cf24dba5fb0a30e",
    "scanTarget": "skill",
}
CLEAN = ATR_EVENT | {
    "attackType": "clean",
    "mitreTechnique": "__clean__",
    "sigmaRuleMatched": "__clean__",
}
SEALED = {
    "sealed": {"v": 1, "alg": "ECDH-ES+A256GCM", "kid": "ingest-2026-07", "jwe": "eyJh..sealed-secret-text"}
}
TRAP_EVENT = {
    "timestamp": "2026-04-17T00:42:31.124Z",
    "serviceType": "ssh",
    "sourceIP": "45.83.0.0",
    "attackType": "brute_force",
    "mitreTechniques": ["T1110", "T1021"],
    "skillLevel": "script_kiddie",
    "intent": "access",
    "tools": ["hydra"],
    "topCredentials": [{"username": "5e884898da280471", "count": 4}],
    "region": "NL",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("reports")
    with Server(folder, limits_agent_per_minute=100_000, intel_keep_sealed=True) as running:
        yield running
        assert defects(running) == []


@pytest.fixture(scope="module")
def agent(server: Server) -> Iterator[httpx.Client]:
    with server.agent("guard-1") as client:
        client.headers["X-Panguard-Client-Id"] = CLIENT_ID
        yield client


def threats(server: Server, **query: str) -> list[dict[str, Any]]:
    with server.admin as admin:
        found: list[dict[str, Any]] = accepted(admin.get("/api/threats", params={"limit": "500", **query}))
    return found


def stored_bytes(server: Server) -> bytes:
    """Everything in the database files."""
    return b"".join(path.read_bytes() for path in server.state_dir.glob("threatcloud.db*"))


def counts(answer: httpx.Response) -> tuple[int, int, int, int]:
    data = accepted(answer, 201)
    return data["count"], data["clean"], data["sealed"], data["skipped"]


@pytest.mark.parametrize(
    ("body", "counted"),
    [
        ({"events": [GUARD_EVENT, GUARD_EVENT]}, (2, 0, 0, 0)),
        (GUARD_EVENT, (1, 0, 0, 0)),
        ([GUARD_EVENT], (1, 0, 0, 0)),
        ({"events": [ATR_EVENT, CLEAN, CLEAN]}, (1, 2, 0, 0)),
        (SEALED, (0, 0, 1, 0)),
        ({"events": [SEALED, GUARD_EVENT]}, (1, 0, 1, 0)),
        ({"sealed": "not even an envelope"}, (0, 0, 1, 0)),
        ({"events": []}, (0, 0, 0, 0)),
        ({"events": [GUARD_EVENT, {"attackType": 7}, 7, None, {"region": "DE"}]}, (1, 0, 0, 4)),
        ({"attackType": "x", "severity": {"a": [1, {"b": "c"}]}, "unknown": [[[[[1]]]]]}, (1, 0, 0, 0)),
        (json.dumps({"events": [GUARD_EVENT]}), (1, 0, 0, 0)),
    ],
    ids=lambda part: str(part)[:40],
)
def test_every_shape_that_clients_send_is_taken(
    body: Any, counted: tuple[int, int, int, int], agent: httpx.Client
) -> None:
    assert counts(agent.post("/api/threats", json=body)) == counted


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"7", b"true", b'"text"', b"[7]", b"[null]", b"{}", b'{"events": [{}]}', b'"{\\"a\\""', b"\xff"],
)  # fmt: skip
@pytest.mark.parametrize(
    "path", ["/api/threats", "/api/trap-intel", "/api/skill-threats", "/api/skill-whitelist"]
)
def test_what_is_no_report_is_refused(path: str, content: bytes, agent: httpx.Client) -> None:
    refused(agent.post(path, content=content), 400)


def test_nul_and_half_a_character_are_mended(server: Server, agent: httpx.Client) -> None:
    """JavaScript cuts texts between the halves of a character; a Guard would send a refused batch for ever."""
    for escape in (r"\u0000", r"\ud83d", r"\udc00"):
        content = f'{{"events": [{{"attackType": "cut{escape}"}}]}}'
        assert counts(agent.post("/api/threats", content=content)) == (1, 0, 0, 0)
        twice = json.dumps(content)
        assert counts(agent.post("/api/threats", content=twice)) == (1, 0, 0, 0)
    pair = r'{"attackType": "\ud83d\ude00 \\u0000"}'
    assert counts(agent.post("/api/threats", content=pair)) == (1, 0, 0, 0)
    assert threats(server)[0]["attackType"] == "\U0001f600 \\u0000"
    assert threats(server)[1]["attackType"] == "cut"


def test_a_kept_event_is_masked_rounded_and_says_whose_it_is(server: Server, agent: httpx.Client) -> None:
    agent.post("/api/threats", json=GUARD_EVENT)
    kept = threats(server)[0]
    assert kept["subject"] == "guard-1"
    assert kept["sourceNetwork"] == "45.83.0.0/16"
    assert kept["hour"] == "2026-04-17T00:00:00.000Z"
    assert re.fullmatch(r".*T\d\d:00:00\.000Z", kept["received"])
    assert kept["ruleIds"] == "ATR-2026-00001,ATR-2026-00002,ATR-2026-00003"
    assert kept["detail"] == {"category": "prompt-injection"}
    agent.post("/api/threats", json=ATR_EVENT)
    kept = threats(server)[0]
    assert kept["sourceNetwork"] is None
    assert kept["region"] == ""
    assert kept["detail"]["confidence"] == 0.87


def test_nothing_exact_is_anywhere_in_the_database(server: Server, agent: httpx.Client) -> None:
    event = GUARD_EVENT | {
        "attackSourceIP": "77.91.124.55",
        "attackType": "from 77.91.124.56",
        "scanTarget": "/home/alice-the-user/project",
        "severity": {"ip": "77.91.124.57", "list": ["77.91.124.58", "mallory@evil.example"]},
    }
    accepted(agent.post("/api/threats", json=event), 201)
    trap = TRAP_EVENT | {"sourceIP": "77.91.124.59", "intent": "hit 77.91.124.60"}
    accepted(agent.post("/api/trap-intel", json=[trap]), 201)
    finding = {"id": "f", "category": "c", "severity": "high", "title": "sends to 77.91.124.61"}
    skill = {"skillHash": "h", "skillName": "leaky", "riskScore": 10, "riskLevel": "LOW"}
    accepted(agent.post("/api/skill-threats", json=skill | {"findingSummaries": [finding]}), 201)
    stored = stored_bytes(server)
    assert b"77.91.0.0/16" in stored
    for exact in (b"77.91.124.", b"alice-the-user", b"mallory", b"5e884898da280471", CLIENT_ID.encode()):
        assert exact not in stored, exact


def test_a_sealed_report_is_kept_as_it_came_when_the_owner_wants_it(
    server: Server, agent: httpx.Client
) -> None:
    assert counts(agent.post("/api/threats", json=SEALED)) == (0, 0, 1, 0)
    assert b"eyJh..sealed-secret-text" in stored_bytes(server)


def test_a_sealed_report_is_not_kept_by_default(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Server(tmp_path_factory.mktemp("unkept")) as server, server.agent() as agent:
        assert counts(agent.post("/api/threats", json=SEALED)) == (0, 0, 1, 0)
        assert b"eyJh..sealed-secret-text" not in stored_bytes(server)


def test_a_trap_sends_a_bare_list(server: Server, agent: httpx.Client) -> None:
    data = accepted(agent.post("/api/trap-intel", json=[TRAP_EVENT, TRAP_EVENT, {"attackType": []}]), 201)
    assert (data["count"], data["skipped"]) == (2, 1)
    kept = threats(server, channel="trap")[0]
    assert kept["mitreTechnique"] == "T1110,T1021"
    assert kept["detail"]["service"] == "ssh"
    assert kept["detail"]["credentials"][0]["count"] == 4
    assert accepted(agent.post("/api/trap-intel", json=[]), 201)["count"] == 0


def test_events_come_in_pages(server: Server, agent: httpx.Client) -> None:
    accepted(agent.post("/api/threats", json={"events": [GUARD_EVENT] * 25}), 201)
    with server.admin as admin:
        whole = [row["id"] for row in accepted(admin.get("/api/threats?limit=500"))]
        seen: list[int] = []
        query = {"limit": "10"}
        while True:
            body = admin.get("/api/threats", params=query).json()
            seen += [row["id"] for row in body["data"]]
            if body["meta"]["next"] is None:
                break
            query["cursor"] = body["meta"]["next"]
    assert seen == whole == sorted(seen, reverse=True)
    with server.admin as admin:
        refused(admin.get("/api/threats?channel=x"), 400, "channel")


def test_without_a_key_reports_are_kept_and_nobody_is_behind_them(
    server: Server, agent: httpx.Client
) -> None:
    with server.client() as nobody:
        accepted(nobody.post("/api/threats", json=GUARD_EVENT), 201)
        accepted(nobody.post("/api/trap-intel", json=[TRAP_EVENT]), 201)
        accepted(
            nobody.post(
                "/api/skill-threats",
                json={
                    "skillHash": "h",
                    "skillName": "x",
                    "riskScore": 99,
                    "riskLevel": "CRITICAL",
                    "source": "website",
                },
            ),
            201,
        )
        refused(nobody.post("/api/skill-whitelist", json={"skillName": "x"}), 401)
    assert threats(server)[0]["subject"] is None


@pytest.mark.parametrize("depth", [5, 100, 400, 900])
def test_deep_nesting_is_cut_off_or_refused(depth: int, agent: httpx.Client) -> None:
    nested = "[" * depth + "1" + "]" * depth
    for member in ("severity", "atrRulesMatched", "sealed"):
        answer = agent.post("/api/threats", content=f'{{"attackType": "x", "{member}": {nested}}}')
        assert answer.status_code in {201, 400}, answer.text
    skill = '"skillHash": "h", "skillName": "n", "riskScore": 1, "riskLevel": "LOW"'
    content = f'{{{skill}, "findingSummaries": [{{"id": {nested}}}]}}'
    answer = agent.post("/api/skill-threats", content=content)
    assert answer.status_code in {201, 400}, answer.text


def test_ten_thousand_items_are_too_many(agent: httpx.Client) -> None:
    refused(agent.post("/api/threats", json={"events": [{"attackType": "x"}] * 10_001}), 413)


def test_who_may_not_report(server: Server) -> None:
    for role in ("partner", "reviewer"):
        with server.client(server.issue(role)) as client:
            refused(client.post("/api/threats", json=GUARD_EVENT), 403)
            refused(client.get("/api/threats"), 403)
