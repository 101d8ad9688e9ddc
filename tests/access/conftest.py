"""A real database and real signing keys in a folder of their own; the clock is a variable."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from app.access.gatekeeper import Gatekeeper
from app.access.key_store import issuer_of
from app.access.policy import AccessPolicy, LimitPolicy
from app.signing.keys import SigningKeys
from app.storage import Storage
from tests.clock import NOW, Clock


async def open_gatekeeper(
    storage: Storage,
    state: Path,
    access: AccessPolicy | None = None,
    limits: LimitPolicy | None = None,
    now: datetime = NOW,
) -> Gatekeeper:
    return Gatekeeper(
        storage,
        SigningKeys.open(state, now),
        access or AccessPolicy(),
        limits or LimitPolicy(),
        await storage.write(issuer_of),
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    opened = Storage(tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
async def gatekeeper(storage: Storage, tmp_path: Path) -> Gatekeeper:
    return await open_gatekeeper(storage, tmp_path)
