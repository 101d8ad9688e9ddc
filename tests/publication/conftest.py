"""A publisher for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.publication.harness import PublicationHarness


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[PublicationHarness]:
    opened = PublicationHarness(tmp_path)
    yield opened
    await opened.stop()
