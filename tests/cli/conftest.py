"""Instances that several tests share; each test brings its own agents, hashes and rule ids."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import official, server
from tests.flows.fleet import instance
from tests.server import Server

__all__ = ["official", "server"]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """An instance that a test may roll back, or whose keys it may change."""
    with instance(tmp_path / "own", consensus_cycle_seconds=86_400) as running:
        yield running


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of an instance that issued two keys and was stopped; only copied from."""
    server = Server(tmp_path_factory.mktemp("pattern"))
    for subject in ("first", "second"):
        server.cli("key", "issue", "--role", "agent", "--subject", subject)
    return server.state_dir


@pytest.fixture
def stopped(pattern: Path, tmp_path: Path) -> Server:
    """An instance that ran and was stopped."""
    server = Server(tmp_path)
    shutil.copytree(pattern, server.state_dir)
    return server
