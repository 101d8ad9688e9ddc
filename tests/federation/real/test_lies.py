"""Every lie of an upstream, told to a real server process: what is served stays, it is said, and truth mends it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.example_rules import rule_text
from tests.federation.poison import STOLEN_ID
from tests.federation.real.pulls import pull, pulled_once, served, status, upstream
from tests.federation.simulator import Lie, Simulator
from tests.flows.fleet import instance, live_rules
from tests.server import Server

FAILURES: dict[Lie, str] = {
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
FAILURES_OF_NPM: dict[Lie, str] = {
    "bad_integrity": "integrity",
    "sha1_only": "integrity",
    "tar_bomb": "too-large",
    "other_package": "mixed-up",
    "empty": "shape",
}
SUSPICIOUS: dict[Lie, str] = {"shrink": "shrink", "empty": "empty"}
"""Answers that may be true and are held until an admin says so, with the reason."""
NOT_NOTICED: tuple[Lie, ...] = ("unasked_304",)
"""Says that there is nothing new, which nobody can know to be wrong."""
HARMLESS: tuple[Lie, ...] = ("restamp", "no_etag", "poisoned", "redirect_same")
HARMLESS_OF_NPM: tuple[Lie, ...] = ("evil_tar", "tarball_elsewhere")

FAILING = [
    *(("live", lie, code) for lie, code in FAILURES.items()),
    *(("npm", lie, code) for lie, code in FAILURES_OF_NPM.items()),
    *(("atr-rules", lie, FAILURES[lie]) for lie in ("truncate_json", "replay", "total_mismatch")),
]
HELD = [(kind, lie, reason) for kind in ("live", "atr-rules") for lie, reason in SUSPICIOUS.items()]


@dataclass(frozen=True, slots=True)
class Liars:
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
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liars]:
    """They are pulled only when a test says so; answers may have 1 MiB and take 2 seconds.

    Every upstream has told the truth about an edit, so that its first answer can be told from the next one.
    """
    config, upstreams = "", {}
    with ExitStack() as stack:
        for number, kind in enumerate(("live", "atr-rules", "npm")):
            simulator = upstreams[kind] = stack.enter_context(Simulator())
            first = STOLEN_ID if kind == "live" else f"ATR-2026-{98_000 + 100 * number}"
            ids = [first, *(f"ATR-2026-{98_001 + 100 * number + n}" for n in range(11))]
            simulator.rules = {rule_id: rule_text(rule_id) for rule_id in ids}
            config += upstream(kind, simulator.url, name=kind, timeout=2, max_bytes=1 << 20)
        folder = tmp_path_factory.mktemp("lies")
        server = stack.enter_context(instance(folder, config=config, limits_live_burst=1000))
        liars = Liars(server, upstreams)
        for kind in upstreams:
            assert pulled_once(server, kind)["rules"] == 12
            liars.edit(kind)
            assert pull(server, kind)["changed"] == 1
        yield liars


@pytest.fixture
def liars(running: Liars) -> Iterator[Liars]:
    """After each test, however it ended, every upstream has told the truth again."""
    yield running
    for kind, simulator in running.upstreams.items():
        if simulator.lie is not None:
            simulator.lie = None
            pull(running.server, kind)


def test_each_lie_is_told_to_a_server_here() -> None:
    told = {*FAILURES, *FAILURES_OF_NPM, *SUSPICIOUS, *NOT_NOTICED, *HARMLESS, *HARMLESS_OF_NPM}
    assert told == set(get_args(Lie))


@pytest.mark.parametrize(("kind", "lie", "code"), FAILING)
def test_a_lie_that_is_noticed_changes_nothing_that_is_served(
    liars: Liars, kind: str, lie: Lie, code: str
) -> None:
    before = served(liars.server)
    edited = liars.edit(kind) if lie != "older_serial" else None  # that serial would be the one we know
    liars.upstreams[kind].lie = lie
    result = pull(liars.server, kind)
    assert (result["outcome"], result["failure"]["code"]) == ("failed", code)
    now = status(liars.server, kind)
    assert (now["state"], now["failure"]["code"], now["rules"]) == ("failing", code, 12)
    assert served(liars.server) == before
    assert is_ready(liars.server)
    assert liars.metric("upstream_up", upstream=kind) == 0
    assert liars.metric("upstream_failure", upstream=kind, code=code) == 1
    assert secrets_in(liars.server) == []
    truth_mends(liars, kind, edited)


@pytest.mark.parametrize(("kind", "lie", "reason"), HELD)
def test_a_suspicious_answer_is_held(liars: Liars, kind: str, lie: Lie, reason: str) -> None:
    before = served(liars.server)
    liars.edit(kind)
    liars.upstreams[kind].lie = lie
    assert pull(liars.server, kind)["outcome"] == "held"
    now = status(liars.server, kind)
    assert (now["state"], now["rules"]) == ("ok", 12)
    assert now["held"] >= 6
    assert all(reason in change["reasons"] for change in held(liars.server, kind))
    assert served(liars.server) == before
    assert is_ready(liars.server)
    assert liars.metric("upstream_held_changes", upstream=kind) == now["held"]
    truth_mends(liars, kind, liars.edit(kind))


@pytest.mark.parametrize("lie", NOT_NOTICED)
def test_a_lie_that_nobody_can_notice_delays_and_does_no_more(liars: Liars, lie: Lie) -> None:
    before = served(liars.server)
    edited = liars.edit("live")
    liars.upstreams["live"].lie = lie
    assert pull(liars.server, "live")["outcome"] == "unchanged"
    assert served(liars.server) == before
    truth_mends(liars, "live", edited)


@pytest.mark.parametrize(
    ("kind", "lie"), [*(("live", lie) for lie in HARMLESS), *(("npm", lie) for lie in HARMLESS_OF_NPM)]
)
def test_what_is_odd_does_not_keep_the_rest_away(liars: Liars, kind: str, lie: Lie) -> None:
    before = live_rules(liars.server)
    edited = liars.edit(kind)
    liars.upstreams[kind].lie = lie
    assert pull(liars.server, kind)["changed"] == 1
    assert status(liars.server, kind)["state"] == "ok"
    assert liars.serves(edited)
    assert live_rules(liars.server).keys() == before.keys()


def test_the_command_line_tells_it_with_its_exit_code(liars: Liars) -> None:
    liars.upstreams["live"].lie = "html"
    synced = liars.server.cli("upstream", "pull", "live", check=False)
    assert (synced.returncode, "content-type" in synced.stdout + synced.stderr) == (1, True)
    told = liars.server.cli("upstream", "show", "--json", check=False)
    assert told.returncode == 1
    states = {entry["name"]: (entry["state"], entry["failure"]) for entry in json.loads(told.stdout)}
    assert states.pop("live")[0] == "failing"
    assert set(states.values()) == {("ok", None)}
    liars.upstreams["live"].lie = None
    assert liars.server.cli("upstream", "pull", "live").returncode == 0
    assert liars.server.cli("upstream", "show").returncode == 0


def truth_mends(liars: Liars, kind: str, edited: str | None) -> None:
    """The next honest answer is taken, and nothing of the lie is left."""
    liars.upstreams[kind].lie = None
    pull(liars.server, kind)
    now = status(liars.server, kind)
    assert (now["state"], now["failure"], now["held"], now["rules"]) == ("ok", None, 0, 12)
    assert edited is None or liars.serves(edited)
    assert liars.metric("upstream_up", upstream=kind) == 1
    assert liars.metric("upstream_held_changes", upstream=kind) == 0


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
