"""Overlay entries for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.overlay.harness import OverlayHarness


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[OverlayHarness]:
    opened = OverlayHarness(tmp_path)
    yield opened
    await opened.close()
