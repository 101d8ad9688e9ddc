"""A change of policy reaches what is undecided."""

from pathlib import Path

import pytest

from app.consensus.policy import ConsensusPolicy
from tests.consensus.harness import ConsensusHarness
from tests.example_rules import short_rule_text

pytestmark = pytest.mark.anyio


async def test_a_lower_threshold_confirms_what_has_enough_now(tmp_path: Path) -> None:
    async with ConsensusHarness.opened(tmp_path) as harness:
        assert await harness.consensus.adopt_policy(harness.now) == 0
        await harness.confirm(short_rule_text(), times=2)
        assert await harness.consensus.adopt_policy(harness.now) == 0
    async with ConsensusHarness.opened(tmp_path, ConsensusPolicy(threshold=2)) as harness:
        assert await harness.consensus.adopt_policy(harness.now) == 1
        assert await harness.status() == "confirmed"


async def test_a_higher_one_takes_confirmed_back_but_leaves_decisions_alone(tmp_path: Path) -> None:
    async with ConsensusHarness.opened(tmp_path) as harness:
        await harness.consensus.adopt_policy(harness.now)
        await harness.confirm(short_rule_text(), pattern_hash="promoted")
        await harness.consensus.run_cycle(harness.now)
        await harness.confirm(short_rule_text(), pattern_hash="confirmed")
    async with ConsensusHarness.opened(tmp_path, ConsensusPolicy(threshold=5)) as harness:
        assert await harness.consensus.adopt_policy(harness.now) == 1
        assert await harness.status("confirmed") == "pending"
        assert await harness.status("promoted") == "promoted"


async def test_another_quality_gives_failed_texts_another_chance(tmp_path: Path) -> None:
    async with ConsensusHarness.opened(tmp_path, ConsensusPolicy(quality="strict")) as harness:
        await harness.consensus.adopt_policy(harness.now)
        await harness.confirm(short_rule_text())
        assert (await harness.consensus.run_cycle(harness.now)).failed == ("hash-1",)
    async with ConsensusHarness.opened(tmp_path, ConsensusPolicy(quality="standard")) as harness:
        await harness.consensus.adopt_policy(harness.now)
        assert (await harness.consensus.run_cycle(harness.now)).promoted == ("hash-1",)
