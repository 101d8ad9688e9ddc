"""`threatcloud intel`, beside a running server and without one."""

import json
from collections.abc import Iterator

import pytest

from tests.server import Server
from tests.web.answers import accepted


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("intel-cli")) as running:
        yield running


def test_lists_and_feeds_by_verb(server: Server) -> None:
    assert server.cli_json("intel", "blacklist", "add", "Bad Skill", "--reason", "seen")["added"] == 1
    assert "Bad Skill" in server.cli("intel", "blacklist", "list").stdout
    server.cli("intel", "whitelist", "add", "good", "--hash", "f")
    (good,) = server.cli_json("intel", "whitelist", "list")
    assert (good["skillName"], good["status"], good["fingerprintHash"]) == ("good", "confirmed", "f")
    assert server.cli_json("intel", "indicator", "add", "evil.example.net")["kind"] == "domain"
    assert [entry["value"] for entry in server.cli_json("intel", "indicator", "list")] == ["evil.example.net"]
    refusal = server.cli("intel", "indicator", "add", "10.0.0.1", check=False)
    assert refusal.returncode == 1
    assert "value:" in refusal.stderr
    assert "removed" in server.cli("intel", "indicator", "remove", "evil.example.net").stdout
    assert "removed" in server.cli("intel", "blacklist", "remove", "bad skill").stdout
    assert "removed" in server.cli("intel", "whitelist", "remove", "good").stdout
    assert server.cli_json("intel", "blacklist", "list") == []


def test_one_clients_data_by_verb_beside_a_server_and_without(server: Server) -> None:
    with server.agent("laptop-7") as agent:
        accepted(agent.post("/api/threats", json={"attackType": "c2"}), 201)
        accepted(agent.post("/api/skill-whitelist", json={"skillName": "s"}), 201)
    (event,) = server.cli_json("intel", "threats")
    assert event["subject"] == "laptop-7"
    exported = server.cli_json("intel", "export", "laptop-7")
    assert set(exported["rows"]) >= {"keys", "threats", "skillVotes"}
    server.stop()
    done = server.cli("intel", "erase", "laptop-7", "--yes", "--json")
    assert json.loads(done.stdout)["erased"]["threats"] == 1
    server.start()
    assert server.cli_json("intel", "threats") == []
    assert set(server.cli_json("intel", "export", "laptop-7")["rows"]) == {"keys"}
    assert server.cli("intel", "erase", "nobody-here", "--yes", check=False).returncode == 1
    actions = [entry["action"] for entry in server.cli_json("audit", "list")]
    assert {"subject.erase", "subject.export"} <= set(actions)
