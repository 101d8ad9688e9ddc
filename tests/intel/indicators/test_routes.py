"""Feeds and an admin's indicators over real HTTP; the server and its agents are those of the skill lists' tests."""

from tests.intel.skills.test_routes import FEED, addresses, event, report, server
from tests.server import Server
from tests.web.answers import accepted, refused

__all__ = ["server"]


def test_a_feed_lists_what_three_identities_reported_and_an_admin_added(server: Server) -> None:
    for source in ("91.92.240.5", "10.1.2.3", "127.0.0.1", "91.92.240.0", "unknown", "45.83.64.7"):
        report(server, event(source), 3, "/api/threats")
    found = addresses(server)
    assert "91.92.240.5" in found
    assert not {"10.1.2.3", "127.0.0.1", "91.92.240.0", "unknown", "45.83.64.7"} & set(found), (
        "45.83 is our own"
    )
    assert "91.92.240.5" in addresses(server, category="c2")
    assert addresses(server, category="x\n1.1.1.1") == []
    assert "91.92.240.5" not in addresses(server, minReputation="71")
    report(server, event("91.92.240.5"), 1, "/api/threats")
    assert "91.92.240.5" in addresses(server, minReputation="80")
    with server.client() as reader:
        for bad in ("x", "-1", "101", "1.5", "\u0663"):
            refused(reader.get(FEED, params={"minReputation": bad}), 400, "minReputation")


def test_an_admin_adds_lists_and_removes_indicators(server: Server) -> None:
    path = "/api/admin/indicators"
    with server.admin as admin:
        domain = accepted(admin.post(path, json={"value": "Evil.Example.NET.", "reason": "seen"}), 201)
        assert (domain["kind"], domain["value"], domain["reputation"]) == ("domain", "evil.example.net", 100)
        accepted(admin.post(path, json={"value": "91.92.241.6", "reputation": 50, "category": "scan"}), 201)
        for value in (
            "10.0.0.1",
            "127.0.0.1",
            "localhost",
            "printer.local",
            "91.92.241.0/24",
            "91.92.241.0",
            "x",
        ):
            refused(admin.post(path, json={"value": value}), 400, "value")
        domains = admin.get("/api/feeds/domain-blocklist").text.splitlines()
        assert [line for line in domains if not line.startswith("#")] == ["evil.example.net"]
        assert "91.92.241.6" not in addresses(server)
        assert "91.92.241.6" in addresses(server, minReputation="50")
        assert "91.92.241.6" in addresses(server, minReputation="50", category="scan")
        kinds = {entry["kind"] for entry in accepted(admin.get(path, params={"origin": "admin"}))}
        assert kinds == {"ip", "domain"}
        first = admin.get(path, params={"limit": "1"}).json()
        second = admin.get(path, params={"limit": "1", "cursor": first["meta"]["next"]}).json()
        assert first["data"] != second["data"]
        assert accepted(admin.request("DELETE", path, json={"value": "EVIL.example.net"}))["entries"] == 1
        refused(admin.request("DELETE", path, json={"value": "evil.example.net"}), 404)
        refused(admin.get(path, params={"kind": "url"}), 400, "kind")
        actions = [entry["action"] for entry in accepted(admin.get("/api/audit-log"))]
    assert {"indicator.add", "indicator.delete"} <= set(actions)
