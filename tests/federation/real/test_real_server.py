"""Against the published Threat Cloud server itself: first pull, polling, restarts, withdrawals, edits, wrong keys."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.federation.real.pulls import approve, key_file, pull, pulled_once, served, status, upstream
from tests.federation.real.threat_cloud import ThreatCloud
from tests.flows.fleet import instance, live_rules, rule
from tests.published import COUNT
from tests.server import Server

FAIL_ITS_OWN_GATE = 42
"""Of its 785 rules the server hides these from agents, though not from partners."""


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreatCloud]:
    """A server with the 785 official rules, which no test changes."""
    with ThreatCloud(tmp_path_factory.mktemp("public"), seeded=True) as running:
        yield running


@pytest.fixture(scope="module")
def synced(public: ThreatCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An instance of ours that has pulled them, its key in the environment."""
    config = upstream("live", public.url, key="env:PUBLIC_KEY")
    server = Server(tmp_path_factory.mktemp("synced"), config=config)
    server.environ["PUBLIC_KEY"] = public.partner_key()
    try:
        server.start()
        assert pulled_once(server)["state"] == "ok"
        yield server
    finally:
        server.kill()


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[ThreatCloud]:
    """A server with twelve small rules of its own: one of them is less than any guard minds."""
    with ThreatCloud(tmp_path / "vendor") as running:
        running.publish({f"vendor:{number}": numbered(number) for number in range(12)})
        yield running


def numbered(number: int, **different: str) -> str:
    """The text of one of them."""
    return rule(rule_id=rule_id(number), **different)


def rule_id(number: int) -> str:
    """The id in its text, which is not the name that the server knows it by."""
    return f"ATR-2026-{96_000 + number}"


@contextlib.contextmanager
def pulling(vendor: ThreatCloud, folder: Path, policy: str) -> Iterator[Server]:
    """An instance of ours that has pulled them once, its key in a file."""
    key = key_file(folder, vendor.partner_key())
    config = upstream("live", vendor.url, key=f"file:{key}", policy=policy)
    with instance(folder / "ours", config=config) as server:
        assert pulled_once(server)["failure"] is None
        yield server


# The whole official set


def test_all_rules_come_under_the_ids_in_their_texts(synced: Server, published_rules: list[Path]) -> None:
    offered = {str(yaml.load(path.read_bytes(), yaml.CSafeLoader)["id"]): path for path in published_rules}
    assert status(synced)["rules"] == COUNT
    rules = live_rules(synced)
    assert rules.keys() == offered.keys()
    assert all(rules[name]["ruleContent"] == path.read_text() for name, path in offered.items())


def test_rules_are_classified_although_the_server_says_unknown(synced: Server, public: ThreatCloud) -> None:
    theirs, ours = public.live(), live_rules(synced)
    assert {entry["category"] for entry in theirs} == {"unknown"}
    assert {entry["mitreTechniques"] for entry in theirs} == {""}
    assert len({entry["category"] for entry in ours.values()}) == 9
    assert all(entry["mitreTechniques"].startswith("AML.T") for entry in ours.values())
    severities = {entry["ruleContent"]: entry["severity"] for entry in theirs}
    assert all(severities[entry["ruleContent"]] == entry["severity"] for entry in ours.values())


def test_a_pull_with_nothing_new_is_one_304(synced: Server, public: ThreatCloud) -> None:
    polls = len(public.polls())
    assert pull(synced)["outcome"] == "unchanged"
    assert public.polls()[polls:] == [304]


def test_its_restart_makes_no_new_publication_here(synced: Server, public: ThreatCloud) -> None:
    """It dates all its rules anew at each start, so its ETag moves although no rule did."""
    before, offered = served(synced), public.live()
    public.restart()
    assert {e["publishedAt"] for e in public.live()} & {e["publishedAt"] for e in offered} == set()
    polls = len(public.polls())
    result = pull(synced)
    assert public.polls()[polls:] == [200]
    assert (result["outcome"], result["changed"], result["held"]) == ("unchanged", 0, 0)
    assert served(synced) == before


def test_an_agents_key_is_enough_for_what_agents_are_given(public: ThreatCloud, tmp_path: Path) -> None:
    config = upstream("atr-rules", public.url, key=f"file:{key_file(tmp_path, public.client_key())}")
    with instance(tmp_path, config=config) as server:
        first = pulled_once(server)
        assert (first["state"], first["rules"]) == ("ok", COUNT - FAIL_ITS_OWN_GATE)
        before = served(server)
        assert pull(server)["outcome"] == "unchanged"
        assert served(server) == before


def test_an_agents_key_opens_no_live_sync(public: ThreatCloud, tmp_path: Path) -> None:
    config = upstream("live", public.url, key=f"file:{key_file(tmp_path, public.client_key())}")
    with instance(tmp_path, config=config) as server:
        first = pulled_once(server)
        assert (first["state"], first["failure"]["code"]) == ("failing", "unauthorized")


# Changes


def test_a_deleted_rule_is_withdrawn_and_an_edited_one_changes(vendor: ThreatCloud, tmp_path: Path) -> None:
    with pulling(vendor, tmp_path, "mirror") as server:
        assert live_rules(server).keys() == {rule_id(number) for number in range(12)}
        vendor.delete("vendor:3")
        vendor.publish({"vendor:5": (edited := numbered(5, title="A better title"))})
        result = pull(server)
        assert (result["added"], result["changed"], result["withdrawn"]) == (0, 1, 1)
        rules = live_rules(server)
        assert rules.keys() == {rule_id(number) for number in range(12) if number != 3}
        assert rules[rule_id(5)]["ruleContent"] == edited


def test_additive_keeps_a_deleted_rule_and_takes_an_edit(vendor: ThreatCloud, tmp_path: Path) -> None:
    with pulling(vendor, tmp_path, "additive") as server:
        vendor.delete("vendor:3")
        vendor.publish({"vendor:5": (edited := numbered(5, title="A better title"))})
        assert pull(server)["withdrawn"] == 0
        rules = live_rules(server)
        assert rules.keys() == {rule_id(number) for number in range(12)}
        assert rules[rule_id(5)]["ruleContent"] == edited


def test_review_holds_all_until_it_is_approved(vendor: ThreatCloud, tmp_path: Path) -> None:
    with pulling(vendor, tmp_path, "review") as server:
        assert (status(server)["held"], live_rules(server)) == (12, {})
        assert len(approve(server)) == 12
        assert len(live_rules(server)) == 12
        vendor.delete("vendor:3")
        vendor.publish({"vendor:5": numbered(5, title="A better title")})
        before = served(server)
        assert pull(server)["held"] == 2
        assert served(server) == before
        assert set(approve(server)) == {rule_id(3), rule_id(5)}
        rules = live_rules(server)
        assert rule_id(3) not in rules
        assert "A better title" in rules[rule_id(5)]["ruleContent"]


def test_deleting_a_third_at_once_is_held(vendor: ThreatCloud, tmp_path: Path) -> None:
    with pulling(vendor, tmp_path, "mirror") as server:
        before = served(server)
        vendor.delete(*(f"vendor:{number}" for number in range(4)))
        assert pull(server)["outcome"] == "held"
        assert served(server) == before
        assert set(approve(server)) == {rule_id(number) for number in range(4)}
        assert len(live_rules(server)) == 8


def test_a_wrong_key_changes_nothing_but_the_state(vendor: ThreatCloud, tmp_path: Path) -> None:
    with pulling(vendor, tmp_path, "mirror") as server:
        before, key = served(server), tmp_path / "upstream.key"
        right = key.read_text()
        key.write_text("not-a-key\n")
        failure = pull(server)["failure"]
        assert failure["code"] == "unauthorized"
        now = status(server)
        assert (now["state"], now["failure"]["code"], now["rules"]) == ("failing", "unauthorized", 12)
        assert "not-a-key" not in str(now) + server.log.read_text()
        assert served(server) == before
        key.write_text(right)
        assert pull(server)["outcome"] == "unchanged"
        assert status(server)["state"] == "ok"


def test_a_server_that_is_down_changes_nothing_but_the_state(vendor: ThreatCloud, tmp_path: Path) -> None:
    with pulling(vendor, tmp_path, "mirror") as server:
        before = served(server)
        vendor.stop()
        assert pull(server)["failure"]["code"] == "unreachable"
        assert served(server) == before
        vendor.start()
        assert pull(server)["outcome"] == "unchanged"
        assert status(server)["state"] == "ok"
