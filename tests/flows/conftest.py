"""Instances that several tests share; each test brings its own agents, hashes and rule ids."""

from collections.abc import Iterator

import pytest

from tests.flows.fleet import UPSTREAM, eventually, has_rules, instance
from tests.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An empty instance whose promotion cycle runs only when a test asks for it."""
    with instance(tmp_path_factory.mktemp("instance"), consensus_cycle_seconds=86_400) as running:
        yield running


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An instance with the 833 rules that pyatr bundles; nobody may stop it."""
    pytest.importorskip("pyatr")
    folder = tmp_path_factory.mktemp("official")
    with instance(folder, config=UPSTREAM, consensus_cycle_seconds=86_400) as running:
        with running.admin as admin:
            eventually(lambda: has_rules(admin), "the first pull")
        yield running
