"""An admin's decisions on upstream's rules, through updates, restarts and a rollback, on a real server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.example_rules import rule_text
from tests.flows.fleet import eventually, guard_rules, has_rules, live_rules
from tests.server import Server

RULES = [f"ATR-2026-0000{n}" for n in range(1, 7)]
FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH = RULES


class Upstream:
    """A folder of rules that somebody else edits, and an instance that pulls from it."""

    def __init__(self, folder: Path) -> None:
        self.rules = folder / "rules"
        self.rules.mkdir()
        for rule_id in RULES:
            self.says(rule_id)
        self.config = (
            f'[[upstream]]\nname = "folder"\nkind = "directory"\npath = "{self.rules}"\n'
            "max_withdrawn_percent = 100\nmax_changed_percent = 100\n"
            f'exclude = {{ id = ["{SIXTH}"] }}\n'
        )
        self.server = Server(folder / "instance", config=self.config, consensus_cycle_seconds=86_400)

    def says(self, rule_id: str, **different: str) -> str:
        text = rule_text(rule_id, **different)
        (self.rules / f"{rule_id}.yaml").write_text(text)
        return text

    def sync(self) -> None:
        self.server.cli("upstream", "pull", "folder")


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    made = Upstream(tmp_path_factory.mktemp("overlay"))
    with made.server.start() as server, server.admin as admin:
        eventually(lambda: has_rules(admin), "the first pull")
        yield made


def decide(server: Server, verb: str, *arguments: str) -> dict[str, Any]:
    done: dict[str, Any] = server.cli_json("overlay", verb, *arguments, "--reason", "a test says so")
    return done


def served(server: Server) -> dict[str, str]:
    return {rule_id: rule["ruleContent"] for rule_id, rule in live_rules(server).items()}


def test_a_decision_is_served_at_once_and_survives_what_upstream_does(upstream: Upstream) -> None:
    server = upstream.server
    before = served(server)
    assert set(before) == set(RULES) - {SIXTH}
    disabled = decide(server, "disable", FIRST)
    decide(server, "severity", SECOND, "low")
    decide(server, "pin", THIRD)
    decide(server, "enable", SIXTH)
    assert (disabled["state"], disabled["declared"]) == ("active", "api")
    pinned = before[THIRD]
    assert served(server) == {
        SECOND: rule_text(SECOND, severity="low"),
        THIRD: pinned,
        FOURTH: before[FOURTH],
        FIFTH: before[FIFTH],
        SIXTH: rule_text(SIXTH),
    }
    for rule_id in RULES:
        upstream.says(rule_id, title="Upstream knows better")
    upstream.sync()
    after = served(server)
    assert after == {
        SECOND: rule_text(SECOND, title="Upstream knows better", severity="low"),
        THIRD: pinned,
        FOURTH: rule_text(FOURTH, title="Upstream knows better"),
        FIFTH: rule_text(FIFTH, title="Upstream knows better"),
        SIXTH: rule_text(SIXTH, title="Upstream knows better"),
    }
    listed = {entry["ruleId"]: entry for entry in server.cli_json("overlay", "list")}
    assert all(entry["baseMoved"] for entry in listed.values())
    assert {entry["state"] for entry in listed.values()} == {"active"}
    assert live_rules(server)[SECOND]["severity"] == "low"
    server.cli("overlay", "remove", disabled["id"], "--reason", "it is better now")
    assert FIRST in served(server)


def test_a_replaced_text_shows_what_upstream_changed_since(upstream: Upstream, tmp_path: Path) -> None:
    server = upstream.server
    upstream.says(FOURTH)
    upstream.sync()
    ours = tmp_path / "ours.yaml"
    ours.write_text(rule_text(FOURTH, severity="medium", pattern="our own pattern"))
    made = decide(server, "replace", FOURTH, str(ours))
    upstream.says(FOURTH, severity="critical", title="Changed since")
    upstream.sync()
    assert served(server)[FOURTH] == ours.read_text()
    shown = server.cli_json("overlay", "show", made["id"])
    assert shown["baseText"] == rule_text(FOURTH)
    assert shown["ourText"] == ours.read_text()
    assert [change["path"] for change in shown["theirs"]] == ["title", "severity"]
    assert [change["path"] for change in shown["ours"]] == ["severity", "detection.conditions[0].value"]
    assert shown["conflicts"] == ["severity"]
    text = server.cli("overlay", "show", made["id"]).stdout
    assert "title: Asks for the tool registry's signing key -> Changed since" in text
    assert "changed by both:\nseverity\n" in text
    assert guard_rules(server)[FOURTH]["severity"] == "medium"


def test_a_text_that_cannot_replace_a_rule_is_refused_with_every_mistake(
    upstream: Upstream, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(rule_text("ATR-2026-77777", severity="huge", title=""))
    done = upstream.server.cli("overlay", "replace", FIFTH, str(bad), "--reason", "x", check=False)
    assert done.returncode == 1
    assert "text: title: " in done.stderr
    assert "text: severity: " in done.stderr
    assert not [e for e in upstream.server.cli_json("overlay", "list") if e["ruleId"] == FIFTH]


def test_over_http_only_an_admin_decides_and_mistakes_are_named(upstream: Upstream) -> None:
    server = upstream.server
    body = {"action": "disable", "ruleId": FIFTH, "reason": "test"}
    for role in ("agent", "partner", "reviewer"):
        with server.client(server.issue(role)) as client:
            assert client.post("/api/admin/overlay", json=body).status_code == 403
    with server.client(server.issue("reviewer")) as reviewer:
        assert reviewer.get("/api/admin/overlay").status_code == 200
    with server.admin as admin:
        for wrong, field in (
            ({"action": "delete"}, "action"),
            ({"ruleId": "no id"}, "ruleId"),
            ({"reason": ""}, "reason"),
            ({"severity": "low"}, "severity"),
            ({"action": "severity"}, "severity"),
            ({"action": "severity", "severity": "huge"}, "severity"),
            ({"action": "replace"}, "text"),
            ({"expires": "soon"}, "expires"),
            ({"expires": "2020-01-01"}, "expires"),
        ):
            refused = admin.post("/api/admin/overlay", json=body | wrong)
            assert refused.status_code == 400, refused.text
            assert field in refused.json()["error"]
        assert admin.get("/api/admin/overlay", params={"state": "odd"}).status_code == 400
        assert admin.get("/api/admin/overlay/none").status_code == 404
        assert admin.delete("/api/admin/overlay/none").status_code == 404
        made = admin.post("/api/admin/overlay", json=body | {"expires": "1d"})
        assert made.status_code == 201
        assert made.json()["data"]["owner"] != ""
        clash = admin.post("/api/admin/overlay", json=body | {"action": "enable"})
        assert clash.status_code == 409
        assert made.json()["data"]["id"] in clash.json()["error"]
        page = admin.get("/api/admin/overlay", params={"limit": "1"}).json()
        rest = admin.get("/api/admin/overlay", params={"cursor": page["meta"]["next"]}).json()
        everything = admin.get("/api/admin/overlay").json()
        assert page["data"] + rest["data"] == everything["data"]
        gone = admin.delete(f"/api/admin/overlay/{made.json()['data']['id']}", params={"reason": "done"})
        assert gone.status_code == 200
        audited = admin.get("/api/audit-log", params={"limit": "2"}).json()["data"]
    assert [(e["action"], e["target"]) for e in audited] == [
        ("overlay.remove", FIFTH),
        ("overlay.add", FIFTH),
    ]
    assert audited[0]["detail"]["reason"] == "done"


def test_during_a_rollback_what_is_disabled_now_stays_out(upstream: Upstream) -> None:
    server = upstream.server
    serial = str(server.cli_json("publication", "show")["serial"])
    before = served(server)
    server.cli("publication", "rollback", serial, "--reason", "test")
    made = decide(server, "disable", FIFTH)
    assert served(server) == {i: text for i, text in before.items() if i != FIFTH}
    server.cli("overlay", "remove", made["id"], "--reason", "test")
    server.cli("publication", "resume")
    assert served(server) == before


def test_the_configuration_declares_and_wins_over_what_was_made_by_hand(
    upstream: Upstream, tmp_path: Path
) -> None:
    server = upstream.server
    decide(server, "disable", FIFTH)
    bad = tmp_path / "missing.yaml"
    server.config.write_text(
        upstream.config
        + f'[[overlay]]\nrule = "{FIFTH}"\naction = "enable"\nreason = "policy"\nowner = "soc"\n'
        + f'[[overlay]]\nrule = "{FIRST}"\naction = "replace"\nreason = "policy"\nowner = "soc"\n'
        + f'text_file = "{bad}"\n'
        + '[[overlay]]\nrule = "ATR-2026-99999"\naction = "disable"\nreason = "policy"\nowner = "soc"\n'
    )
    assert server.stop() == 0
    server.start()

    def declared() -> dict[str, dict[str, Any]]:
        return {e["ruleId"]: e for e in server.cli_json("overlay", "list") if e["declared"] == "config"}

    eventually(lambda: len(declared()) == 3, "the entries of the configuration")
    states = {rule_id: entry["state"] for rule_id, entry in declared().items()}
    assert states == {FIFTH: "idle", FIRST: "unusable", "ATR-2026-99999": "idle"}
    eventually(lambda: FIFTH in served(server), "a publication without the entry made by hand")
    assert FIRST in served(server), "what cannot be used hinders nothing"
    refused = server.cli("overlay", "remove", declared()[FIFTH]["id"], "--reason", "x", check=False)
    assert refused.returncode == 1
    assert "[[overlay]]" in refused.stderr
    found = {f["check"]: f for f in server.cli_json("doctor", "--config", str(server.config))}
    assert str(bad) in found[f"overlay {FIRST}: text_file"]["found"]
    assert "no upstream has the rule" in found["overlay ATR-2026-99999: disable"]["found"]
    assert "superseded" in server.log.read_text()
