"""Fixtures for all tests, and how the tests are shared out among processes (`pytest -n auto`)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.published import COUNT, published_rules_folder

MACHINES = "tests/machines/"
INSTALLING = ("test_everyday.py", "test_install.py", "test_outside.py", "test_upgrade.py")
"""What of the tests on machines goes into the first of two groups of about the same length."""
LONGEST = (
    "machines: installing",
    "machines: using",
    "tests/web/test_fuzz_openapi.py",
    "tests/flows/test_durability.py",
    "tests/federation/test_service.py",
    "tests/cli/test_upstream.py",
    "tests/flows/test_bundles.py",
    "tests/flows/test_federation_guide.py",
    "tests/flows/test_single_instance.py",
    "tests/web/test_hostile_http.py",
    "tests/federation/real/test_hostile_upstream.py",
    "tests/federation/real/test_real_server.py",
)
"""The groups that take longest, in the order in which they are begun: one begun last keeps all others waiting."""


@pytest.fixture(scope="session")
def published_rules() -> list[Path]:
    """The files of the 785 published rules, in order of their paths."""
    paths = sorted(published_rules_folder().glob("*/*.yaml"))
    assert len(paths) == COUNT
    return paths


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """What the product sets for its own process ends with the test that called it in this one."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


def group_of(nodeid: str) -> str:
    """Return the group that runs in one process, in order: a file, or several files of tests on machines."""
    file = nodeid.partition("::")[0]
    if not file.startswith(MACHINES):
        return file
    return "machines: installing" if file.removeprefix(MACHINES) in INSTALLING else "machines: using"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    rank = {group: number for number, group in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(group_of(item.nodeid), len(LONGEST)))


def pytest_xdist_auto_num_workers() -> int:
    """One process for each core, and one for each group of machines, mostly waited for; never more than four."""
    return min(len(os.sched_getaffinity(0)) + 2, 4)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Give a process the next group, in the order of the collection, when it is nearly through with its last one."""
    config.option.loadscopereorder = False
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = group_of
    return scheduler
