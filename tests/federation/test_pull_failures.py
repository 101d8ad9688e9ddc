"""Upstreams that fail or answer wrongly, as the service sees them: what is served stays, and the status says why."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlite_utils import Database

from app.federation.upstream import LiveUpstream
from app.http.timestamps import from_text
from tests.clock import NOW
from tests.example_rules import rule_text
from tests.federation.harness import IDS, FederationHarness, harness_in
from tests.federation.simulator import Fault, Simulator
from tests.server import REPOSITORY

pytestmark = pytest.mark.anyio


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(start=NOW) as running:
        running.rules = {rule_id: rule_text(rule_id) for rule_id in IDS}
        yield running


@pytest.fixture
async def live(harness: FederationHarness, simulator: Simulator) -> LiveUpstream:
    """The simulator is the upstream `atr`, pulled once."""
    upstream = LiveUpstream(name="atr", url=simulator.url)
    await harness.configure(upstream)
    simulator.advance(timedelta(minutes=1))
    assert (await harness.pull()).added == 10
    return upstream


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("truncate", "truncated"),
        ("hang_up", "unreachable"),
        ("swap_etag", "mixed-up"),
        ("replay", "replayed"),
        ("error_500", "status"),
        ("unauthorized", "unauthorized"),
        ("redirect_elsewhere", "redirect"),
        ("html", "content-type"),
        ("bomb", "too-large"),
        ("total_mismatch", "mixed-up"),
        ("not_ok", "shape"),
    ],
)
async def test_a_fault_leaves_what_is_served_and_shows_in_the_status(
    harness: FederationHarness, simulator: Simulator, live: LiveUpstream, fault: Fault, code: str
) -> None:
    simulator.rules[IDS[1]] = rule_text(IDS[1], title="Another title")
    simulator.advance(timedelta(minutes=1))
    assert (await harness.pull()).changed == 1
    served = await harness.served()
    simulator.rules[IDS[0]] = rule_text(IDS[0], title="Another title")
    simulator.fault = fault
    simulator.advance(timedelta(minutes=1))
    await harness.pull()
    assert await harness.served() == served
    status = await harness.status()
    assert status.state == "failing"
    assert status.failure is not None
    assert status.failure.code == code
    simulator.fault = None
    simulator.advance(timedelta(minutes=1))
    assert (await harness.pull()).changed == 1


async def test_a_hostile_answer_brings_the_good_rules_only(
    harness: FederationHarness, simulator: Simulator, live: LiveUpstream
) -> None:
    simulator.fault = "hostile_entries"
    simulator.advance(timedelta(minutes=1))
    result = await harness.pull()
    assert result.failure is None
    assert result.set_aside > 0
    assert set(await harness.served()) == {*IDS}


@pytest.mark.parametrize(("fault", "reason"), [("shrink", ["shrink"]), ("empty", ["empty", "shrink"])])
async def test_an_upstream_that_lost_its_rules_is_held(
    harness: FederationHarness, simulator: Simulator, live: LiveUpstream, fault: Fault, reason: list[str]
) -> None:
    simulator.fault = fault
    simulator.advance(timedelta(minutes=1))
    assert (await harness.pull()).outcome == "held"
    assert len(await harness.served()) == 10
    assert {tuple(reasons) for _, reasons in (await harness.held()).values()} == {tuple(reason)}


async def test_a_restart_of_the_public_server_restamps_everything_and_changes_nothing(
    harness: FederationHarness, simulator: Simulator, live: LiveUpstream
) -> None:
    simulator.fault = "restamp"
    simulator.advance(timedelta(minutes=1))
    result = await harness.pull()
    assert (result.outcome, result.failure) == ("unchanged", None)
    assert len(harness.published) == 1
    assert await harness.count("upstream_version") == 1


@pytest.mark.parametrize("fault", ["too_many", "unavailable"])
async def test_a_restart_does_not_hammer_an_upstream_that_asked_for_patience(
    harness: FederationHarness, simulator: Simulator, live: LiveUpstream, fault: Fault
) -> None:
    simulator.fault = fault
    simulator.advance(timedelta(minutes=1))
    await harness.pull()
    next_pull = from_text((await harness.status()).next_pull or "")
    assert next_pull >= harness.now + timedelta(seconds=115)
    await harness.configure(live)
    asked = len(simulator.requests)
    assert await harness.federation.due(harness.now + timedelta(seconds=60)) == []
    await harness.federation.start_if_due("atr", harness.now + timedelta(seconds=60))
    assert await harness.federation.progress("atr") is None
    assert len(simulator.requests) == asked
    assert await harness.federation.due(next_pull) == [live]
    # By hand it goes at once, and an entry that was changed is a reason to go at once, too.
    assert (await harness.pull()).failure is not None
    changed = LiveUpstream(name="atr", url=simulator.url, timeout=60)
    await harness.configure(changed)
    assert await harness.federation.due(harness.now) == [changed]
    await harness.pull()
    await harness.configure(changed)
    assert await harness.federation.due(harness.now) == []


async def test_what_lies_on_this_machine_is_due_at_every_start_and_comes_first(
    harness: FederationHarness, simulator: Simulator
) -> None:
    live, folder = LiveUpstream(name="live", url=simulator.url), harness.directory()
    await harness.configure(live, folder)
    assert await harness.federation.due(harness.now) == [folder, live]
    await harness.pull("live")
    await harness.pull()
    await harness.configure(live, folder)
    assert await harness.federation.due(harness.now) == [folder]


async def test_pulls_wait_for_each_other_and_a_second_one_joins_the_first(
    harness: FederationHarness, simulator: Simulator
) -> None:
    live, folder = LiveUpstream(name="live", url=simulator.url), harness.directory()
    harness.rules().offer(IDS)
    await harness.configure(live, folder)
    simulator.fault = "stall"
    first = await harness.federation.start_pull("live", harness.now)
    assert await harness.federation.start_pull("live", harness.now) is first
    second = await harness.federation.start_pull("atr", harness.now)
    assert (first.state, second.state) == ("waiting", "waiting")
    simulator.fault = None
    simulator.released.set()
    result = await harness.federation.pull("atr", harness.now)
    assert first.result is not None
    assert second.result == result
    assert result.added == 10
    assert (second.state, second.texts, second.looked) == ("done", 10, 10)


async def test_nothing_is_left_of_a_pull_that_was_given_up(
    harness: FederationHarness, simulator: Simulator
) -> None:
    await harness.configure(LiveUpstream(name="live", url=simulator.url))
    simulator.fault = "stall"
    await harness.federation.start_pull("live", harness.now)
    await harness.federation.close()
    assert await harness.count("rule") == 0


CRASH = """
import asyncio, os, sys
from pathlib import Path
from tests.federation.harness import IDS, harness_in
from tests.example_rules import rule_text
import app.federation.pull as pull

async def main():
    async with harness_in(Path(sys.argv[1])) as harness:
        harness.rules().offer(IDS)
        await harness.pull()
        harness.rules().write(IDS[0], rule_text(IDS[0], title="Another title"))
        harness.rules().remove(IDS[1])
        pull.apply_answer = lambda *_: os._exit(9)
        await harness.pull()

asyncio.run(main())
"""


async def test_a_crash_before_the_last_transaction_leaves_what_was_served(tmp_path: Path) -> None:
    died = subprocess.run(
        [sys.executable, "-c", CRASH, str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        timeout=60,
        check=False,
    )
    assert died.returncode == 9
    assert list((tmp_path / "spool").iterdir())
    async with harness_in(tmp_path) as harness:
        assert not list((tmp_path / "spool").iterdir())
        # The new text is known already, and nobody uses it.
        assert await harness.count("rule_text") == 11
        assert set(await harness.served()) == {*IDS}
        assert "Another title" not in (await harness.served()).values()
        harness.now = NOW + timedelta(hours=1)
        result = await harness.pull()
        assert (result.changed, result.withdrawn) == (1, 1)


async def test_rules_of_an_older_release_are_no_change(harness: FederationHarness) -> None:
    """That release kept neither id nor source with a text, nor versions."""
    harness.rules().offer(IDS)
    await harness.pull()

    def forget_what_is_new(db: Database) -> None:
        db.execute("UPDATE rule SET source = NULL, version = NULL")
        db.execute("UPDATE rule_text SET rule_id = NULL, status = NULL, maturity = NULL")
        db.execute("UPDATE upstream SET version = NULL, memory = '{}'")
        db.execute("DELETE FROM upstream_rule")
        db.execute("DELETE FROM upstream_version")

    await harness.storage.write(forget_what_is_new)
    await harness.configure(harness.directory(include={"status": ["stable"]}))
    assert await harness.served() == {}
    result = await harness.pull()
    assert (result.outcome, result.held) == ("unchanged", 0)
    await harness.configure(harness.directory(include={"status": ["experimental"]}))
    assert set(await harness.served()) == {*IDS}
