"""Fixtures for all tests."""

from pathlib import Path

import pytest

from tests.published import COUNT, published_rules_folder


@pytest.fixture(scope="session")
def published_rules() -> list[Path]:
    """The files of the 785 published rules, in order of their paths."""
    paths = sorted(published_rules_folder().glob("*/*.yaml"))
    assert len(paths) == COUNT
    return paths
