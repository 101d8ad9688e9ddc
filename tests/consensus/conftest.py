"""A consensus for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.consensus.harness import ConsensusHarness


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[ConsensusHarness]:
    async with ConsensusHarness.opened(tmp_path) as opened:
        yield opened
