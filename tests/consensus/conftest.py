"""What every consensus test stands on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .world import World, opened


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as here:
        yield here
