"""A federation for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.federation.harness import FederationHarness, harness_in


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[FederationHarness]:
    async with harness_in(tmp_path) as made:
        yield made
