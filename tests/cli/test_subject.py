"""`threatcloud subject` and `threatcloud threat`: one client's data, beside a running server and without one."""

import json

from tests.server import Server
from tests.web.answers import accepted


def test_one_clients_data_is_exported_and_erased_beside_a_server_and_without(own: Server) -> None:
    server = own
    with server.agent("laptop-7") as agent:
        accepted(agent.post("/api/threats", json={"attackType": "c2"}), 201)
        accepted(agent.post("/api/skill-whitelist", json={"skillName": "s"}), 201)
    (event,) = server.cli_json("threat", "list")
    assert event["subject"] == "laptop-7"
    exported = server.cli_json("subject", "export", "laptop-7")
    assert set(exported["rows"]) >= {"keys", "threats", "skillVotes"}
    server.stop()
    done = server.cli("subject", "erase", "laptop-7", "--yes", "--json")
    assert json.loads(done.stdout)["erased"]["threats"] == 1
    server.start()
    assert server.cli_json("threat", "list") == []
    assert set(server.cli_json("subject", "export", "laptop-7")["rows"]) == {"keys"}
    actions = [entry["action"] for entry in server.cli_json("audit", "list")]
    assert {"subject.erase", "subject.export"} <= set(actions)


def test_an_unknown_client_cannot_be_erased(server: Server) -> None:
    assert server.cli("subject", "erase", "nobody-here", "--yes", check=False).returncode == 1
