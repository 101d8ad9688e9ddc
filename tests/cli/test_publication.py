"""`threatcloud publication`: rollback and its end."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.flows.fleet import live_rules, poll, promoted, shown, vote_against
from tests.server import Server


@dataclass(frozen=True)
class RolledBack:
    """An instance that was rolled back to the set before `bad`; `other` and `good` were in it."""

    server: Server
    good_hash: str
    good: str
    other: str
    bad: str
    target: int
    kept: dict[str, dict[str, Any]]
    rolled: dict[str, Any]


@pytest.fixture
def frozen(own: Server) -> RolledBack:
    """Three rules are promoted, one after the other; then the third is rolled back."""
    good_hash, good = promoted(own)
    _, other = promoted(own)
    target = own.cli_json("publication", "show")["serial"]
    kept = live_rules(own)
    _, bad = promoted(own)
    assert own.cli_json("publication", "diff")["added"] == [bad]
    rolled = own.cli_json("publication", "rollback", str(target), "--reason", "bad rule")
    return RolledBack(own, good_hash, good, other, bad, target, kept, rolled)


def test_a_rollback_publishes_the_older_set_again(frozen: RolledBack) -> None:
    server = frozen.server
    assert (frozen.rolled["serial"], frozen.rolled["restores"]) == (frozen.target + 2, frozen.target)
    assert {i: r["ruleContent"] for i, r in live_rules(server).items()} == {
        i: r["ruleContent"] for i, r in frozen.kept.items()
    }
    assert server.cli_json("publication", "diff")["withdrawn"] == [frozen.bad]
    with server.agent() as agent:
        assert frozen.bad in poll(agent).json()["meta"]["withdrawn"]


def test_a_rollback_freezes_the_set_but_for_quarantines_and_survives_a_restart(frozen: RolledBack) -> None:
    server = frozen.server
    promoted(server)
    assert live_rules(server).keys() == {frozen.good, frozen.other}
    for _ in range(3):
        vote_against(server, frozen.good)
    assert live_rules(server).keys() == {frozen.other}
    server.stop()
    server.start()
    assert live_rules(server).keys() == {frozen.other}


def test_resume_publishes_the_present_set_once(frozen: RolledBack) -> None:
    server = frozen.server
    _, later = promoted(server)
    for _ in range(3):
        vote_against(server, frozen.good)
    resumed = server.cli_json("publication", "resume")
    assert resumed["serial"] > frozen.rolled["serial"]
    assert live_rules(server).keys() == {frozen.other, frozen.bad, later}
    assert shown(server, frozen.good_hash)["status"] == "quarantined"
    again = server.cli("publication", "resume", check=False)
    assert again.returncode == 1
    assert "nothing to release" in again.stderr
    serials = [record["serial"] for record in server.cli_json("publication", "list")]
    assert serials == sorted(serials, reverse=True)
    assert len(set(serials)) == len(serials)
    actions = [entry["action"] for entry in server.cli_json("audit", "list")]
    assert {"publication.rollback", "publication.release"} <= set(actions)
