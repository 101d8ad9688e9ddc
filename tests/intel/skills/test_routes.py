"""The skill lists and feeds over HTTP: who gets what onto them, in what shape, and who does not."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.server import Server
from tests.web.answers import accepted, defects, refused
from tests.web.conftest import UNLIMITED

BLACK, WHITE = "/api/skill-blacklist", "/api/skill-whitelist"
FEED = "/api/feeds/ip-blocklist"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Behind a proxy, so that a test says itself which address a request comes from."""
    options = UNLIMITED | {
        "access_anonymous_report": "networks",
        "access_anonymous_read": "networks",
        "access_trusted_proxies": "127.0.0.0/8",
        "access_networks": "10.0.0.0/8,127.0.0.0/8,45.83.0.0/16",
    }
    with Server(tmp_path_factory.mktemp("lists"), **options) as running:
        yield running
        assert defects(running) == []


def threat(name: str, score: float = 90, **more: Any) -> dict[str, Any]:
    return {"skillHash": f"hash-of-{name}", "skillName": name, "riskScore": score, "riskLevel": "HIGH"} | more


def report(server: Server, body: Any, number: int = 3, path: str = "/api/skill-threats") -> None:
    """That many newly enrolled agents send the same."""
    for _ in range(number):
        with server.agent() as agent:
            accepted(agent.post(path, json=body), 201)


def registered(server: Server, address: str, voting_from: str | None = None) -> httpx.Client:
    """A client that registered itself from an address."""
    with server.client(**{"X-Forwarded-For": address}) as nobody:
        body = {"clientId": "8c1f0a52-6b55-4f0e-9a0d-0d5a7c1b2e3f"}
        key = accepted(nobody.post("/api/clients/register", json=body), 201)["clientKey"]
    return server.client(key, **{"X-Forwarded-For": voting_from or address})


def listed(server: Server, path: str, **query: str) -> list[dict[str, Any]]:
    with server.client() as reader:
        found: list[dict[str, Any]] = accepted(reader.get(path, params=query))
    return found


def named(server: Server, path: str, name: str, **query: str) -> dict[str, Any] | None:
    key = "skillName" if path == BLACK else "name"
    return next((item for item in listed(server, path, **query) if item[key] == name), None)


def addresses(server: Server, **query: str) -> list[str]:
    with server.client() as reader:
        answer = reader.get(FEED, params=query)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    return [line for line in answer.text.splitlines() if not line.startswith("#")]


def test_three_identities_blacklist_a_skill_in_the_shape_that_clients_read(server: Server) -> None:
    report(server, threat("evil"), 2)
    assert named(server, BLACK, "evil") is None
    report(server, threat("evil", 81), 1)
    item = named(server, BLACK, "evil")
    assert item is not None
    assert item.keys() == {
        "skillHash", "skillName", "avgRiskScore", "maxRiskLevel", "reportCount", "firstReported", "lastReported"
    }  # fmt: skip
    assert (item["skillHash"], item["avgRiskScore"], item["maxRiskLevel"], item["reportCount"]) == (
        "hash-of-evil",
        87.0,
        "HIGH",
        3,
    )


def test_a_lower_risk_or_fewer_reports_are_for_who_asks(server: Server) -> None:
    report(server, threat("meh", 40), 3)
    report(server, threat("rare", 95), 1)
    assert named(server, BLACK, "meh") is None
    assert named(server, BLACK, "meh", minAvgRisk="40") is not None
    assert named(server, BLACK, "rare", minReports="1") is not None
    assert named(server, BLACK, "rare", minReports="0", minAvgRisk="0") is not None
    assert named(server, BLACK, "rare", minReports="2") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("minReports", "x"), ("minReports", "-1"), ("minReports", "nan"), ("minAvgRisk", "101"), ("minAvgRisk", "nan"),
     ("minAvgRisk", "inf"), ("since", "yesterday"), ("minReports", "9" * 400)],
)  # fmt: skip
def test_a_bad_question_names_what_is_wrong(name: str, value: str, server: Server) -> None:
    with server.client() as reader:
        refused(reader.get(BLACK, params={name: value}), 400, name)


def test_an_admin_blocks_in_the_form_that_guards_act_on(server: Server) -> None:
    with server.admin as admin:
        assert (
            accepted(admin.post(BLACK, json={"skillName": "Blocked One", "reason": "seen"}), 201)["added"]
            == 1
        )
        many = {
            "skills": [
                {"skillName": "blocked-two", "skillHash": "abcdef0123456789"},
                {"skillName": "Blocked one"},
            ]
        }
        assert accepted(admin.post(BLACK, json=many), 201) == {
            "message": "Added to blacklist", "added": 1, "total": 2
        }  # fmt: skip
        item = named(server, BLACK, "Blocked one", minReports="1000")
        assert item is not None
        assert item["reportCount"] >= 5
        assert item["avgRiskScore"] >= 50
        two = named(server, BLACK, "blocked-two")
        assert two is not None
        assert two["skillHash"] == "abcdef0123456789"
        assert accepted(admin.request("DELETE", BLACK, json={"skillHash": two["skillHash"]}))["names"] == [
            "blocked-two"
        ]
        accepted(admin.request("DELETE", BLACK, json={"skillName": " BLOCKED one "}))
        refused(admin.request("DELETE", BLACK, json={"skillName": "blocked-one"}), 404)
        refused(admin.request("DELETE", BLACK, json={}), 404)
        actions = [entry["action"] for entry in accepted(admin.get("/api/audit-log"))]
    assert named(server, BLACK, "Blocked one") is None
    assert {"skill.blacklist", "skill.unblacklist"} <= set(actions)


def test_deleting_from_the_blacklist_forgets_the_reports(server: Server) -> None:
    report(server, threat("forgiven"), 3)
    with server.admin as admin:
        assert accepted(admin.request("DELETE", BLACK, json={"skillHash": "hash-of-forgiven"}))["rows"] == 3
    report(server, threat("forgiven"), 2)
    assert named(server, BLACK, "forgiven") is None


def test_a_doubly_encoded_vote_a_batch_and_a_single_one_confirm(server: Server) -> None:
    vote = {"skillName": "Good Skill", "fingerprintHash": "f1"}
    report(server, json.dumps(vote), 1, WHITE)
    report(server, json.dumps({"skills": [vote, {"skillName": ""}, {"name": "x"}]}), 1, WHITE)
    assert named(server, WHITE, "Good Skill") is None
    report(server, {"skillName": "good  skill", "fingerprintHash": "f1"}, 1, WHITE)
    assert named(server, WHITE, "Good Skill") == {"name": "Good Skill", "hash": "f1", "confirmations": 3}
    with server.admin as admin:
        (known,) = [s for s in accepted(admin.get(f"{WHITE}/all")) if s["normalizedName"] == "good-skill"]
        assert (known["status"], known["confirmations"]) == ("confirmed", 3)
        accepted(admin.request("DELETE", WHITE, json={"skillName": "GOOD skill"}))
        refused(admin.request("DELETE", WHITE, json={"skillName": "GOOD skill"}), 404)
        refused(admin.request("DELETE", WHITE, json={"skillHash": "f1"}), 400, "skillName")
    assert named(server, WHITE, "Good Skill") is None


def test_no_name_is_on_both_lists_whatever_is_asked(server: Server) -> None:
    report(server, {"skillName": "Both Ways"}, 3, WHITE)
    report(server, threat("both-ways", 30), 1)
    assert named(server, WHITE, "Both Ways") is not None
    assert named(server, BLACK, "both-ways", minReports="1", minAvgRisk="0") is None
    report(server, threat("BOTH ways", 90), 3)
    assert named(server, WHITE, "Both Ways") is None
    black = [item["skillName"].lower().replace(" ", "-") for item in listed(server, BLACK)]
    assert "both-ways" in black
    with server.admin as admin:
        accepted(admin.post(WHITE, json={"skillName": "both ways"}), 201)
        assert named(server, WHITE, "both ways") is None
        (known,) = [s for s in accepted(admin.get(f"{WHITE}/all")) if s["normalizedName"] == "both-ways"]
        assert known["status"] == "blacklisted"
        accepted(admin.request("DELETE", BLACK, json={"skillName": "both ways"}))
    assert named(server, WHITE, "both ways") is not None
    for query in ({}, {"minReports": "0", "minAvgRisk": "0"}):
        names = {item["skillName"].lower().replace(" ", "-") for item in listed(server, BLACK, **query)}
        assert not names & {item["name"].lower().replace(" ", "-") for item in listed(server, WHITE)}


def test_an_admin_trusts_at_once(server: Server) -> None:
    with server.admin as admin:
        accepted(admin.post(WHITE, json={"skillName": "ours", "fingerprintHash": "f9"}), 201)
    assert named(server, WHITE, "ours") == {"name": "ours", "hash": "f9", "confirmations": 3}


def test_client_ids_make_no_second_identity(server: Server) -> None:
    with server.agent() as agent:
        for number in range(12):
            agent.headers["X-Panguard-Client-Id"] = f"client-{number}"
            accepted(agent.post("/api/skill-threats", json=threat("sybil-1", clientId=f"c{number}")), 201)
            accepted(agent.post(WHITE, json={"skillName": "sybil-1w", "clientId": f"c{number}"}), 201)
            accepted(agent.post("/api/threats", json=event("77.91.124.7")), 201)
    nothing_of(server, "sybil-1", "77.91.124.7")


def test_several_keys_of_one_subject_are_one_identity(server: Server) -> None:
    for _ in range(5):
        with server.agent("one-subject") as agent:
            say_all(agent, "sybil-2", "77.91.124.8")
    nothing_of(server, "sybil-2", "77.91.124.8")


def test_registering_again_and_again_makes_no_second_identity(server: Server) -> None:
    for _ in range(8):
        with registered(server, "10.3.0.1") as agent:
            say_all(agent, "sybil-3", "77.91.124.9")
    nothing_of(server, "sybil-3", "77.91.124.9")


def test_hosts_behind_one_nat_are_one_and_moving_gains_nothing(server: Server) -> None:
    for number in range(8):
        with registered(server, f"10.4.0.{number}", "10.4.1.1") as agent:
            say_all(agent, "sybil-4", "77.91.124.10")
        with registered(server, "10.4.1.1", f"10.4.2.{number}") as agent:
            say_all(agent, "sybil-4", "77.91.124.10")
    nothing_of(server, "sybil-4", "77.91.124.10")


def test_nobody_without_a_key_counts(server: Server) -> None:
    for number in range(8):
        with server.client(**{"X-Forwarded-For": f"10.5.0.{number}"}) as nobody:
            accepted(nobody.post("/api/skill-threats", json=threat("sybil-5")), 201)
            accepted(nobody.post("/api/threats", json=event("77.91.124.11")), 201)
    nothing_of(server, "sybil-5", "77.91.124.11")


def test_three_hosts_that_registered_from_three_addresses_do_count(server: Server) -> None:
    for number in range(3):
        with registered(server, f"10.6.0.{number}") as agent:
            say_all(agent, "honest", "77.91.124.12")
    assert named(server, BLACK, "honest") is not None
    assert named(server, WHITE, "honestw") is not None
    assert "77.91.124.12" in addresses(server)


def test_a_revoked_key_counts_no_more_after_the_recount(server: Server) -> None:
    report(server, threat("revoked-later"), 2)
    with server.agent("gone") as agent:
        say_all(agent, "revoked-later", "77.91.124.13")
    assert named(server, BLACK, "revoked-later") is not None
    with server.admin as admin:
        (key,) = accepted(admin.get("/api/admin/keys?subject=gone"))
        accepted(admin.delete(f"/api/admin/keys/{key['id']}"))
    report(server, threat("revoked-later", 91), 1)
    item = named(server, BLACK, "revoked-later")
    assert item is not None
    assert item["reportCount"] == 3


def event(source: str) -> dict[str, Any]:
    return {"events": [{"attackSourceIP": source, "attackType": "c2", "timestamp": "2026-04-17T00:42:31Z"}]}


def say_all(agent: httpx.Client, name: str, source: str) -> None:
    accepted(agent.post("/api/skill-threats", json=threat(name)), 201)
    accepted(agent.post(WHITE, json={"skillName": f"{name}w"}), 201)
    accepted(agent.post("/api/threats", json=event(source)), 201)


def nothing_of(server: Server, name: str, source: str) -> None:
    """At most one identity stands behind them."""
    assert named(server, BLACK, name) is None
    assert named(server, BLACK, name, minReports="2", minAvgRisk="0") is None
    assert named(server, WHITE, f"{name}w") is None
    assert source not in addresses(server, minReputation="0")


@pytest.mark.parametrize("path", [BLACK, WHITE, FEED, "/api/feeds/domain-blocklist"])
def test_a_list_is_validated_compressed_only_on_demand_and_changes_its_etag(
    path: str, server: Server
) -> None:
    where, name = path, "skillName"
    if "feeds" in path:
        where, name = "/api/admin/indicators", "value"
    body = {name: "91.92.242.9" if path == FEED else f"{path.rpartition('/')[2]}.evil.net"}
    with server.client() as reader, server.admin as admin:
        reader.headers.pop("Accept-Encoding")
        first = reader.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in first.headers
        etag = first.headers["etag"]
        again = reader.get(path, headers={"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")
        assert reader.head(path).headers["etag"] == etag
        packed = reader.get(path, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert _without_id(packed.text) == _without_id(first.text)
        accepted(admin.post(where, json=body), 201)
        changed = reader.get(path, headers={"If-None-Match": etag})
        assert changed.status_code == 200
        assert changed.headers["etag"] != etag


def _without_id(text: str) -> str:
    return text.partition('"request_id"')[0]


def test_since_goes_back_a_week_further_and_never_hides_what_changed(server: Server) -> None:
    with server.admin as admin:
        accepted(admin.post(BLACK, json={"skillName": "since"}), 201)
    for since in ("1970-01-01T00:00:00.000Z", "0001-01-01", "2026-01-01T00:00:00Z"):
        assert named(server, BLACK, "since", since=since) is not None
    assert named(server, BLACK, "since", since="9999-12-31T23:59:59Z") is None
    assert named(server, WHITE, "ours", since="9999-12-31T23:59:59Z") is None


def test_names_that_lie_are_bounded_and_ascii_on_the_wire(server: Server) -> None:
    with server.admin as admin:
        accepted(admin.post(BLACK, json={"skillName": "sk\u00efll \u202etxt.exe"}), 201)
        refused(admin.post(BLACK, json={"skillName": "\u200b \u202e"}), 400, "skillName")
    with server.client() as reader:
        content = reader.get(BLACK).content
    assert content.isascii()
    assert named(server, BLACK, "sk\u00efll  txt.exe") is not None


def test_a_report_that_is_wrong_says_so(server: Server) -> None:
    with server.agent() as agent:
        path = "/api/skill-threats"
        refused(agent.post(path, json=threat("x", 101)), 400, "riskScore")
        refused(agent.post(path, json=threat("x", riskLevel="bad")), 400)
        refused(agent.post(path, json={"skillName": "x"}), 400, "skillHash")
        assert accepted(agent.post(path, json=threat("x", "55", riskLevel="high")), 201)["count"] == 1  # type: ignore[arg-type]
        assert accepted(agent.post(path, json=threat("x", findingSummaries="a text")), 201)["count"] == 1
        refused(agent.get(path), 403)
    with server.admin as admin:
        newest = accepted(admin.get(f"{path}?limit=1"))[0]
    assert (newest["skillName"], newest["reports"], newest["findings"]) == ("x", 2, "a text")
