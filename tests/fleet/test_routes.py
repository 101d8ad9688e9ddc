"""The fleet over real HTTP: the manager channel as stock Guards speak it, and the view of who has which rules."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.example_rules import rule_text
from tests.server import Server
from tests.web.answers import accepted, refused

DEVICE = "0f9d5cf4-3c6b-4a50-a4d1-5a8f3cbb0a11"
REGISTRATION = {
    "hostname": "lab-7",
    "os": "Linux 6.1",
    "arch": "x64",
    "version": "1.0.0",
    "ip": "10.20.30.40",
}
HEARTBEAT = {
    "eventsProcessed": 7,
    "threatsDetected": 1,
    "actionsExecuted": 0,
    "mode": "protection",
    "uptime": 61_000,
    "memoryUsageMB": 80.5,
}
EVENT = {
    "event": {
        "category": "c2_beacon",
        "host": "lab-7",
        "description": "curl run by jdoe",
        "metadata": {"sourceIP": "45.83.12.77", "mitreTechnique": "T1071.001", "userName": "jdoe"},
    },
    "verdict": {"conclusion": "malicious", "confidence": 91, "action": "notify"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("fleet"), access_registrations_per_hour=1000, consensus_cycle_seconds=86_400
    ) as running:
        yield running


@pytest.fixture
def managed(server: Server) -> Iterator[tuple[str, httpx.Client]]:
    """A new agent on the manager channel: its id, and a client with its token."""
    with server.client() as nobody:
        response = nobody.post("/api/agents/register", json=REGISTRATION)
    assert response.status_code == 201
    body = response.json()
    assert body.keys() == {"agentId", "token"}, "stock Guards read these two, without an envelope"
    with server.client(body["token"]) as agent:
        yield body["agentId"], agent


def agent_of(server: Server, agent_id: str) -> dict[str, Any]:
    with server.admin as admin:
        found: dict[str, Any] = accepted(admin.get(f"/api/admin/fleet/{agent_id}"))
    return found


def publish(server: Server, rule_id: str) -> None:
    with server.admin as admin:
        rules = [{"name": "a", "text": rule_text(rule_id)}]
        accepted(admin.post("/api/admin/rules/import", json={"rules": rules}))


def test_an_agent_registers_and_says_how_it_is(server: Server, managed: tuple[str, httpx.Client]) -> None:
    agent_id, agent = managed
    accepted(agent.post(f"/api/agents/{agent_id}/heartbeat", json=HEARTBEAT))
    shown = agent_of(server, agent_id)
    assert (shown["hostname"], shown["os"], shown["arch"], shown["mode"]) == (
        "lab-7",
        "Linux 6.1",
        "x64",
        "protection",
    )
    assert (shown["events"], shown["uptimeSeconds"], shown["memoryMb"]) == (7, 61, 80.5)
    assert (shown["standing"], shown["stale"], shown["enrolled"]) == ("never", False, "self")
    assert "10.20.30.40" not in str(shown)


def test_an_agent_speaks_for_itself_only(server: Server, managed: tuple[str, httpx.Client]) -> None:
    agent_id, _ = managed
    with server.agent() as other:
        refused(other.post(f"/api/agents/{agent_id}/heartbeat", json=HEARTBEAT | {"mode": "off"}), 403)
        refused(other.post(f"/api/agents/{agent_id}/events", json=EVENT), 403)
    assert agent_of(server, agent_id)["mode"] is None


def test_an_event_is_kept_as_a_threat_and_nothing_private_of_it(
    server: Server, managed: tuple[str, httpx.Client]
) -> None:
    agent_id, agent = managed
    accepted(agent.post(f"/api/agents/{agent_id}/events", json=EVENT), 201)
    accepted(
        agent.post(f"/api/agents/{agent_id}/events", json=EVENT | {"verdict": {"conclusion": "benign"}}), 201
    )
    with server.admin as admin:
        threats = accepted(admin.get("/api/threats", params={"channel": "manager", "limit": 500}))
    subject = agent_of(server, agent_id)["subject"]
    (threat,) = [threat for threat in threats if threat["subject"] == subject]
    assert (threat["sourceNetwork"], threat["attackType"]) == ("45.83.0.0/16", "c2_beacon")
    kept = b"".join(path.read_bytes() for path in server.state_dir.glob("threatcloud.db*"))
    for private in (b"45.83.12.77", b"jdoe", b"curl run by"):
        assert private not in kept


def send_event(agent: httpx.Client, agent_id: str, address: str, conclusion: str = "malicious") -> None:
    event = {"category": "scan", "metadata": {"sourceIP": address}}
    headers = {"X-Panguard-Client-Id": secrets.token_hex(8)}
    body = {"event": event, "verdict": {"conclusion": conclusion}}
    accepted(agent.post(f"/api/agents/{agent_id}/events", json=body, headers=headers), 201)


def listed(server: Server, address: str) -> bool:
    with server.agent() as agent:
        return address in agent.get("/api/feeds/ip-blocklist").text.split()


def test_a_host_that_registers_again_and_again_lists_no_address(server: Server) -> None:
    """Stock Guards register with their manager anew at each start; all of it is one witness."""
    address = "45.83.12.78"
    for _ in range(6):
        with server.client() as nobody:
            body = nobody.post("/api/agents/register", json=REGISTRATION).json()
        with server.client(body["token"]) as agent:
            for _ in range(3):
                send_event(agent, body["agentId"], address)
    assert not listed(server, address)


def test_three_agents_that_are_sure_list_an_address(server: Server) -> None:
    sure, unsure = "45.83.12.79", "45.83.12.80"
    for number in range(3):
        assert not listed(server, sure)
        subject = f"sure-{number}"
        with server.client(server.issue("agent", subject)) as agent, server.admin as admin:
            (key,) = accepted(admin.get("/api/admin/keys", params={"subject": subject}))
            send_event(agent, key["id"], sure)
            send_event(agent, key["id"], unsure, "suspicious")
    assert listed(server, sure)
    assert not listed(server, unsure)


def test_a_device_reports_under_its_key(server: Server) -> None:
    token = server.issue("agent", "device-1")
    with server.client(token) as agent:
        body = {
            "deviceId": DEVICE,
            "orgId": "somebody-elses",
            "hostname": "build-3",
            "osType": "linux",
            "agentCount": 4,
            "guardVersion": "guard",
        }
        accepted(agent.post("/api/devices/heartbeat", json=body))
    with server.admin as admin:
        (key,) = accepted(admin.get("/api/admin/keys", params={"subject": "device-1"}))
    shown = agent_of(server, key["id"])
    assert (shown["hostname"], shown["os"], shown["agents"], shown["version"]) == (
        "build-3",
        "linux",
        4,
        None,
    )
    assert DEVICE not in str(shown)


def test_a_poll_makes_an_agent_current_until_the_next_publication(server: Server) -> None:
    publish(server, "ATR-2026-93001")
    token = server.issue("agent", "poller")
    with server.admin as admin:
        (key,) = accepted(admin.get("/api/admin/keys", params={"subject": "poller"}))
    agent_id = key["id"]
    with server.client(token) as agent:
        head = agent.head("/api/atr-rules")
        assert agent_of(server, agent_id)["standing"] == "never", "HEAD gives nothing"
        agent.get("/api/atr-rules", params={"category": "prompt-injection"})
        assert agent_of(server, agent_id)["standing"] == "never", "a part is not the set"
        etag = accepted_etag(agent.get("/api/atr-rules"))
        assert etag == head.headers["etag"]
        first = agent_of(server, agent_id)
        assert first["standing"] == "current"
        publish(server, "ATR-2026-93002")
        behind = agent_of(server, agent_id)
        assert (behind["standing"], behind["serial"]) == ("behind", first["serial"])
        etag = accepted_etag(agent.get("/api/atr-rules"))
        publish(server, "ATR-2026-93002")  # nothing new, so nothing is published
        time.sleep(0.002)
        assert agent.get("/api/atr-rules", headers={"If-None-Match": etag}).status_code == 304
        again = agent_of(server, agent_id)
        assert again["standing"] == "current"
        assert again["servedAt"] > first["servedAt"]


def accepted_etag(response: httpx.Response) -> str:
    assert response.status_code == 200
    etag: str = response.headers["etag"]
    return etag


def test_any_use_of_a_key_is_a_sign_of_life(server: Server) -> None:
    """Guards from 1.7 on fetch rules once per start, and lists every five minutes (measured)."""
    token = server.issue("agent", "lists-only")
    with server.admin as admin, server.client(token) as agent:
        (key,) = accepted(admin.get("/api/admin/keys", params={"subject": "lists-only"}))
        assert agent_of(server, key["id"])["lastSeen"] is None
        agent.get("/api/feeds/ip-blocklist")
        assert agent_of(server, key["id"])["lastSeen"] is not None


def test_the_view_is_paged_and_filtered(server: Server) -> None:
    for _ in range(3):
        with server.agent() as agent:
            agent.get("/api/atr-rules")
    with server.admin as admin:
        whole = admin.get("/api/admin/fleet", params={"limit": 500}).json()
        totals = whole["meta"]["totals"]
        assert totals["agents"] == len(whole["data"])
        assert totals["current"] == sum(agent["standing"] == "current" for agent in whole["data"])
        page = admin.get("/api/admin/fleet", params={"limit": 2}).json()
        following = admin.get("/api/admin/fleet", params={"limit": 2, "cursor": page["meta"]["next"]}).json()
        assert [*page["data"], *following["data"]] == whole["data"][:4]
        assert "totals" not in following["meta"]
        never = accepted(admin.get("/api/admin/fleet", params={"standing": "never", "limit": 500}))
        assert {agent["standing"] for agent in never} == {"never"}
        assert accepted(admin.get("/api/admin/fleet", params={"stale": "yes"})) == []
        refused(admin.get("/api/admin/fleet", params={"standing": "odd"}), 400, "standing")
        refused(admin.get("/api/admin/fleet", params={"stale": "maybe"}), 400, "stale")
        refused(admin.get("/api/admin/fleet/99999999"), 404)


def test_the_view_survives_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Server(tmp_path_factory.mktemp("restart")) as server:
        with server.client(server.issue("agent", "poller")) as agent:
            agent.get("/api/atr-rules")
        server.stop()
        (shown,) = server.cli_json("fleet", "list")
        assert (shown["subject"], shown["standing"]) == ("poller", "current")
        assert shown["id"] in server.cli("fleet", "show", shown["id"]).stdout
        assert server.cli_json("fleet", "list", "--stale") == []
        assert server.cli_json("fleet", "list", "--standing", "behind") == []
