"""Pushed rules over real HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.example_rules import rule_text
from tests.server import Server
from tests.web.answers import accepted, refused


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("push"), consensus_cycle_seconds=86_400, limits_anonymous_per_minute=10_000
    ) as running:
        yield running


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
