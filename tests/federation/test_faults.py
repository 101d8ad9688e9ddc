"""Upstreams that fail or lie, as the service sees them: what is served stays, and the status says why."""

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
from tests.example_rules import rule_text
from tests.federation.simulator import Lie, Simulator
from tests.federation.world import IDS, START, World, world_in
from tests.server import REPOSITORY

pytestmark = pytest.mark.anyio


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(start=START) as running:
        running.rules = {rule_id: rule_text(rule_id) for rule_id in IDS}
        yield running


@pytest.fixture
async def live(world: World, simulator: Simulator) -> LiveUpstream:
    """The simulator is the upstream `atr`, pulled once."""
    upstream = LiveUpstream(name="atr", url=simulator.url)
    await world.configure(upstream)
    simulator.advance(timedelta(minutes=1))
    assert (await world.pull()).added == 10
    return upstream


@pytest.mark.parametrize(
    ("lie", "code"),
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
async def test_a_lie_leaves_what_is_served_and_shows_in_the_status(
    world: World, simulator: Simulator, live: LiveUpstream, lie: Lie, code: str
) -> None:
    simulator.rules[IDS[1]] = rule_text(IDS[1], title="Another title")
    simulator.advance(timedelta(minutes=1))
    assert (await world.pull()).changed == 1
    served = await world.served()
    simulator.rules[IDS[0]] = rule_text(IDS[0], title="Another title")
    simulator.lie = lie
    simulator.advance(timedelta(minutes=1))
    await world.pull()
    assert await world.served() == served
    status = await world.status()
    assert status.state == "failing"
    assert status.failure is not None
    assert status.failure.code == code
    simulator.lie = None
    simulator.advance(timedelta(minutes=1))
    assert (await world.pull()).changed == 1


async def test_a_poisoned_answer_brings_the_good_rules_only(
    world: World, simulator: Simulator, live: LiveUpstream
) -> None:
    simulator.lie = "poisoned"
    simulator.advance(timedelta(minutes=1))
    result = await world.pull()
    assert result.failure is None
    assert result.set_aside > 0
    assert set(await world.served()) == {*IDS}


@pytest.mark.parametrize(("lie", "reason"), [("shrink", ["shrink"]), ("empty", ["empty", "shrink"])])
async def test_an_upstream_that_lost_its_rules_is_held(
    world: World, simulator: Simulator, live: LiveUpstream, lie: Lie, reason: list[str]
) -> None:
    simulator.lie = lie
    simulator.advance(timedelta(minutes=1))
    assert (await world.pull()).outcome == "held"
    assert len(await world.served()) == 10
    assert {tuple(reasons) for _, reasons in (await world.held()).values()} == {tuple(reason)}


async def test_a_restart_of_the_public_server_restamps_everything_and_changes_nothing(
    world: World, simulator: Simulator, live: LiveUpstream
) -> None:
    simulator.lie = "restamp"
    simulator.advance(timedelta(minutes=1))
    result = await world.pull()
    assert (result.outcome, result.failure) == ("unchanged", None)
    assert len(world.published) == 1
    assert await world.count("upstream_version") == 1


@pytest.mark.parametrize("lie", ["too_many", "unavailable"])
async def test_a_restart_does_not_hammer_an_upstream_that_asked_for_patience(
    world: World, simulator: Simulator, live: LiveUpstream, lie: Lie
) -> None:
    simulator.lie = lie
    simulator.advance(timedelta(minutes=1))
    await world.pull()
    next_pull = from_text((await world.status()).next_pull or "")
    assert next_pull >= world.now + timedelta(seconds=115)
    await world.configure(live)
    asked = len(simulator.requests)
    assert await world.federation.due(world.now + timedelta(seconds=60)) == []
    await world.federation.start_if_due("atr", world.now + timedelta(seconds=60))
    assert await world.federation.progress("atr") is None
    assert len(simulator.requests) == asked
    assert await world.federation.due(next_pull) == [live]
    # By hand it goes at once, and an entry that was changed is a reason to go at once, too.
    assert (await world.pull()).failure is not None
    changed = LiveUpstream(name="atr", url=simulator.url, timeout=60)
    await world.configure(changed)
    assert await world.federation.due(world.now) == [changed]
    await world.pull()
    await world.configure(changed)
    assert await world.federation.due(world.now) == []


async def test_what_lies_on_this_machine_is_due_at_every_start_and_comes_first(
    world: World, simulator: Simulator
) -> None:
    live, folder = LiveUpstream(name="live", url=simulator.url), world.directory()
    await world.configure(live, folder)
    assert await world.federation.due(world.now) == [folder, live]
    await world.pull("live")
    await world.pull()
    await world.configure(live, folder)
    assert await world.federation.due(world.now) == [folder]


async def test_pulls_wait_for_each_other_and_a_second_one_joins_the_first(
    world: World, simulator: Simulator
) -> None:
    live, folder = LiveUpstream(name="live", url=simulator.url), world.directory()
    world.rules().offer(IDS)
    await world.configure(live, folder)
    simulator.lie = "stall"
    first = await world.federation.start_pull("live", world.now)
    assert await world.federation.start_pull("live", world.now) is first
    second = await world.federation.start_pull("atr", world.now)
    assert (first.state, second.state) == ("waiting", "waiting")
    simulator.lie = None
    simulator.released.set()
    result = await world.federation.pull("atr", world.now)
    assert first.result is not None
    assert second.result == result
    assert result.added == 10
    assert (second.state, second.texts, second.looked) == ("done", 10, 10)


async def test_nothing_is_left_of_a_pull_that_was_given_up(world: World, simulator: Simulator) -> None:
    await world.configure(LiveUpstream(name="live", url=simulator.url))
    simulator.lie = "stall"
    await world.federation.start_pull("live", world.now)
    await world.federation.close()
    assert await world.count("rule") == 0


CRASH = """
import asyncio, os, sys
from pathlib import Path
from tests.federation.world import IDS, world_in
from tests.example_rules import rule_text
import app.federation.pull as pull

async def main():
    async with world_in(Path(sys.argv[1])) as world:
        world.rules().offer(IDS)
        await world.pull()
        world.rules().write(IDS[0], rule_text(IDS[0], title="Another title"))
        world.rules().remove(IDS[1])
        pull.apply_answer = lambda *_: os._exit(9)
        await world.pull()

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
    async with world_in(tmp_path) as world:
        assert not list((tmp_path / "spool").iterdir())
        # The new text is known already, and nobody uses it.
        assert await world.count("rule_text") == 11
        assert set(await world.served()) == {*IDS}
        assert "Another title" not in (await world.served()).values()
        world.now = START + timedelta(hours=1)
        result = await world.pull()
        assert (result.changed, result.withdrawn) == (1, 1)


async def test_rules_of_an_older_release_are_no_change(world: World) -> None:
    """That release kept neither id nor source with a text, nor versions."""
    world.rules().offer(IDS)
    await world.pull()

    def forget_what_is_new(db: Database) -> None:
        db.execute("UPDATE rule SET source = NULL, version = NULL")
        db.execute("UPDATE rule_text SET rule_id = NULL, status = NULL, maturity = NULL")
        db.execute("UPDATE upstream SET version = NULL, memory = '{}'")
        db.execute("DELETE FROM upstream_rule")
        db.execute("DELETE FROM upstream_version")

    await world.storage.write(forget_what_is_new)
    await world.configure(world.directory(include={"status": ["stable"]}))
    assert await world.served() == {}
    result = await world.pull()
    assert (result.outcome, result.held) == ("unchanged", 0)
    await world.configure(world.directory(include={"status": ["experimental"]}))
    assert set(await world.served()) == {*IDS}
