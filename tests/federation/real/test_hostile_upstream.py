"""Each fault of an upstream, against a real server: what is served stays, the status says why, it recovers."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.example_rules import rule_text
from tests.federation.hostile_entries import STOLEN_ID
from tests.federation.real.pulls import pull, pulled_once, served, status, upstream
from tests.federation.simulator import Fault, Simulator
from tests.flows.fleet import instance, live_rules
from tests.server import Server

FAILURES: dict[Fault, str] = {
    "truncate": "truncated",
    "truncate_json": "not-json",
    "stall": "timeout",
    "trickle": "timeout",
    "hang_up": "unreachable",
    "swap_etag": "mixed-up",
    "replay": "replayed",
    "replay_freshly_dated": "replayed",
    "older_serial": "replayed",
    "expired_token": "replayed",
    "error_500": "status",
    "too_many": "too-fast",
    "unavailable": "status",
    "unauthorized": "unauthorized",
    "redirect_elsewhere": "redirect",
    "redirect_loop": "redirect",
    "html": "content-type",
    "wrong_type": "content-type",
    "bomb": "too-large",
    "huge": "too-large",
    "total_mismatch": "mixed-up",
    "not_ok": "shape",
}
FAILURES_OF_NPM: dict[Fault, str] = {
    "bad_integrity": "integrity",
    "sha1_only": "integrity",
    "tar_bomb": "too-large",
    "other_package": "mixed-up",
    "empty": "shape",
}
SUSPICIOUS: dict[Fault, str] = {"shrink": "shrink", "empty": "empty"}
"""Answers that may be true and are held until an admin says so, with the reason."""
NOT_NOTICED: tuple[Fault, ...] = ("unasked_304",)
"""Says that there is nothing new, which nobody can know to be wrong."""
HARMLESS: tuple[Fault, ...] = ("restamp", "no_etag", "hostile_entries", "redirect_same")
HARMLESS_OF_NPM: tuple[Fault, ...] = ("evil_tar", "tarball_elsewhere")

FAILING = [
    *(("live", fault, code) for fault, code in FAILURES.items()),
    *(("npm", fault, code) for fault, code in FAILURES_OF_NPM.items()),
    *(("atr-rules", fault, FAILURES[fault]) for fault in ("truncate_json", "replay", "total_mismatch")),
]
HELD = [(kind, fault, reason) for kind in ("live", "atr-rules") for fault, reason in SUSPICIOUS.items()]


@dataclass(frozen=True, slots=True)
class HostileUpstreams:
    """One instance, and an upstream of each kind with twelve rules, named like its kind."""

    server: Server
    upstreams: dict[str, Simulator]

    def edit(self, kind: str) -> str:
        """Upstream edits a rule; returns the new text."""
        simulator = self.upstreams[kind]
        rule_id = list(simulator.rules)[1]
        text = rule_text(rule_id, title=f"Edited {len(simulator.requests)} times")
        simulator.rules[rule_id] = text
        return text

    def serves(self, text: str) -> bool:
        """Is this text served now?"""
        return text in {rule["ruleContent"] for rule in live_rules(self.server).values()}

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of a metric, None when there is none with these labels."""
        with self.server.admin as admin:
            page = admin.get("/metrics")
        assert page.status_code == 200
        families = text_string_to_metric_families(page.text)
        samples = [sample for family in families for sample in family.samples]
        found = [s.value for s in samples if (s.name, s.labels) == (f"threatcloud_{name}", labels)]
        return found[0] if found else None


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileUpstreams]:
    """They are pulled only when a test says so; answers may have 1 MiB and take 2 seconds.

    Every upstream has answered rightly about an edit, so that its first answer differs from the next one.
    """
    config, upstreams = "", {}
    with ExitStack() as stack:
        for number, kind in enumerate(("live", "atr-rules", "npm")):
            simulator = upstreams[kind] = stack.enter_context(Simulator())
            first = STOLEN_ID if kind == "live" else f"ATR-2026-{98_000 + 100 * number}"
            ids = [first, *(f"ATR-2026-{98_001 + 100 * number + n}" for n in range(11))]
            simulator.rules = {rule_id: rule_text(rule_id) for rule_id in ids}
            config += upstream(kind, simulator.url, name=kind, timeout=2, max_bytes=1 << 20)
        folder = tmp_path_factory.mktemp("faults")
        server = stack.enter_context(instance(folder, config=config, limits_live_burst=1000))
        hostile = HostileUpstreams(server, upstreams)
        for kind in upstreams:
            assert pulled_once(server, kind)["rules"] == 12
            hostile.edit(kind)
            assert pull(server, kind)["changed"] == 1
        yield hostile


@pytest.fixture
def hostile(running: HostileUpstreams) -> Iterator[HostileUpstreams]:
    """After each test, however it ended, every upstream has answered rightly again."""
    yield running
    for kind, simulator in running.upstreams.items():
        if simulator.fault is not None:
            simulator.fault = None
            pull(running.server, kind)


def test_every_fault_is_covered_here() -> None:
    covered = {*FAILURES, *FAILURES_OF_NPM, *SUSPICIOUS, *NOT_NOTICED, *HARMLESS, *HARMLESS_OF_NPM}
    assert covered == set(get_args(Fault))


@pytest.mark.parametrize(("kind", "fault", "code"), FAILING)
def test_a_detected_fault_changes_nothing_that_is_served(
    hostile: HostileUpstreams, kind: str, fault: Fault, code: str
) -> None:
    before = served(hostile.server)
    edited = hostile.edit(kind) if fault != "older_serial" else None  # that serial would be the one we know
    hostile.upstreams[kind].fault = fault
    result = pull(hostile.server, kind)
    assert (result["outcome"], result["failure"]["code"]) == ("failed", code)
    now = status(hostile.server, kind)
    assert (now["state"], now["failure"]["code"], now["rules"]) == ("failing", code, 12)
    assert served(hostile.server) == before
    assert is_ready(hostile.server)
    assert hostile.metric("upstream_up", upstream=kind) == 0
    assert hostile.metric("upstream_failure", upstream=kind, code=code) == 1
    assert secrets_in(hostile.server) == []
    recovers(hostile, kind, edited)


@pytest.mark.parametrize(("kind", "fault", "reason"), HELD)
def test_a_suspicious_answer_is_held(hostile: HostileUpstreams, kind: str, fault: Fault, reason: str) -> None:
    before = served(hostile.server)
    hostile.edit(kind)
    hostile.upstreams[kind].fault = fault
    assert pull(hostile.server, kind)["outcome"] == "held"
    now = status(hostile.server, kind)
    assert (now["state"], now["rules"]) == ("ok", 12)
    assert now["held"] >= 6
    assert all(reason in change["reasons"] for change in held(hostile.server, kind))
    assert served(hostile.server) == before
    assert is_ready(hostile.server)
    assert hostile.metric("upstream_held_changes", upstream=kind) == now["held"]
    recovers(hostile, kind, hostile.edit(kind))


@pytest.mark.parametrize("fault", NOT_NOTICED)
def test_a_fault_that_cannot_be_noticed_only_delays(hostile: HostileUpstreams, fault: Fault) -> None:
    before = served(hostile.server)
    edited = hostile.edit("live")
    hostile.upstreams["live"].fault = fault
    assert pull(hostile.server, "live")["outcome"] == "unchanged"
    assert served(hostile.server) == before
    recovers(hostile, "live", edited)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [*(("live", fault) for fault in HARMLESS), *(("npm", fault) for fault in HARMLESS_OF_NPM)],
)
def test_a_harmless_oddity_does_not_keep_rules_away(
    hostile: HostileUpstreams, kind: str, fault: Fault
) -> None:
    before = live_rules(hostile.server)
    edited = hostile.edit(kind)
    hostile.upstreams[kind].fault = fault
    assert pull(hostile.server, kind)["changed"] == 1
    assert status(hostile.server, kind)["state"] == "ok"
    assert hostile.serves(edited)
    assert live_rules(hostile.server).keys() == before.keys()


def test_the_command_line_shows_a_failure_in_its_exit_code(hostile: HostileUpstreams) -> None:
    hostile.upstreams["live"].fault = "html"
    synced = hostile.server.cli("upstream", "pull", "live", check=False)
    assert (synced.returncode, "content-type" in synced.stdout + synced.stderr) == (1, True)
    told = hostile.server.cli("upstream", "show", "--json", check=False)
    assert told.returncode == 1
    states = {entry["name"]: (entry["state"], entry["failure"]) for entry in json.loads(told.stdout)}
    assert states.pop("live")[0] == "failing"
    assert set(states.values()) == {("ok", None)}
    hostile.upstreams["live"].fault = None
    assert hostile.server.cli("upstream", "pull", "live").returncode == 0
    assert hostile.server.cli("upstream", "show").returncode == 0


def recovers(hostile: HostileUpstreams, kind: str, edited: str | None) -> None:
    """Check that the next right answer is taken, and nothing of the fault is left."""
    hostile.upstreams[kind].fault = None
    pull(hostile.server, kind)
    now = status(hostile.server, kind)
    assert (now["state"], now["failure"], now["held"], now["rules"]) == ("ok", None, 0, 12)
    assert edited is None or hostile.serves(edited)
    assert hostile.metric("upstream_up", upstream=kind) == 1
    assert hostile.metric("upstream_held_changes", upstream=kind) == 0


def is_ready(server: Server) -> bool:
    with server.client() as client:
        return client.get("/ready").status_code == 200


def held(server: Server, name: str) -> list[dict[str, Any]]:
    """What waits for an admin."""
    with server.admin as admin:
        answer = admin.get(f"/api/admin/upstreams/{name}/held", params={"limit": 100})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])


def secrets_in(server: Server) -> list[str]:
    """What an upstream said that has no business in our log."""
    log = server.log.read_text()
    return [word for word in ("token=secret", "guest network") if word in log]
