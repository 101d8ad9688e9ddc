"""Real clients, and an instance for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.host import Host
from tests.flows.fleet import instance
from tests.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An instance whose promotion cycle runs only when a test asks for it."""
    folder = tmp_path_factory.mktemp("instance")
    with instance(folder, access_registrations_per_hour=1000, consensus_cycle_seconds=86_400) as running:
        yield running


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host without a key."""
    return Host(tmp_path / "host")
