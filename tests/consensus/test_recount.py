"""A change of policy reaches what is undecided."""

from pathlib import Path

import pytest

from app.consensus.policy import ConsensusPolicy

from .world import opened, rule

pytestmark = pytest.mark.anyio


async def test_a_lower_threshold_confirms_what_has_enough_now(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        assert await world.consensus.adopt_policy(world.now) == 0
        await world.confirm(rule(), times=2)
        assert await world.consensus.adopt_policy(world.now) == 0
    async with opened(tmp_path, ConsensusPolicy(threshold=2)) as world:
        assert await world.consensus.adopt_policy(world.now) == 1
        assert await world.status() == "confirmed"


async def test_a_higher_one_takes_confirmed_back_but_leaves_decisions_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.consensus.adopt_policy(world.now)
        await world.confirm(rule(), pattern_hash="promoted")
        await world.consensus.run_cycle(world.now)
        await world.confirm(rule(), pattern_hash="confirmed")
    async with opened(tmp_path, ConsensusPolicy(threshold=5)) as world:
        assert await world.consensus.adopt_policy(world.now) == 1
        assert await world.status("confirmed") == "pending"
        assert await world.status("promoted") == "promoted"


async def test_another_quality_gives_failed_texts_another_chance(tmp_path: Path) -> None:
    async with opened(tmp_path, ConsensusPolicy(quality="strict")) as world:
        await world.consensus.adopt_policy(world.now)
        await world.confirm(rule())
        assert (await world.consensus.run_cycle(world.now)).failed == ("hash-1",)
    async with opened(tmp_path, ConsensusPolicy(quality="standard")) as world:
        await world.consensus.adopt_policy(world.now)
        assert (await world.consensus.run_cycle(world.now)).promoted == ("hash-1",)
