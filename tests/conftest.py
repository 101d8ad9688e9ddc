"""Fixtures for all tests, and how the tests are shared out among processes (`pytest -n auto`).

A process takes a whole file, whose tests share servers. The files that took longest come first, since one that is
begun last keeps all others waiting; what each took is kept in the cache of pytest (`.pytest_cache`). Before the first
run nothing is known, and xdist begins with the files that have the most tests.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist import is_xdist_worker
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.published import COUNT, published_rules_folder

MACHINES = "tests/machines/"
INSTALLING = ("test_everyday.py", "test_install.py", "test_outside.py", "test_upgrade.py")
"""What of the tests on machines goes into the first of two groups of about the same length."""
SECONDS = "threatcloud/seconds"
"""The key in the cache of pytest: `group -> seconds`."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run the tests marked `anyio` on asyncio, as the product runs."""
    return "asyncio"


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
    """Return what runs in one process, in order: a file, or one of the two groups of files that share machines."""
    file = nodeid.partition("::")[0]
    if not file.startswith(MACHINES):
        return file
    return "machines: installing" if file.removeprefix(MACHINES) in INSTALLING else "machines: using"


def cache_of(config: pytest.Config) -> pytest.Cache | None:
    """Return the cache of pytest, unless it is switched off (`-p no:cacheprovider`)."""
    return getattr(config, "cache", None)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """The scheduler of `--dist loadscope`, whose scope is the group."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


class Stopwatch:
    """A plugin that keeps how long each group took, or the longest of several runs."""

    def __init__(self, cache: pytest.Cache) -> None:
        self.cache = cache
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[group_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        known: dict[str, float] = self.cache.get(SECONDS, {})
        longest = {group: max(known.get(group, 0), took) for group, took in self.seconds.items()}
        self.cache.set(SECONDS, known | longest)


def pytest_configure(config: pytest.Config) -> None:
    """Measure in the process that hears of every test."""
    cache = cache_of(config)
    if cache is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Stopwatch(cache))


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and with what nobody knows of; without `-n` the order stays."""
    cache = cache_of(session.config)
    if cache is None or not is_xdist_worker(session):
        return
    known = cache.get(SECONDS, {})
    items.sort(key=lambda item: known.get(group_of(item.nodeid), float("inf")), reverse=True)


def pytest_xdist_auto_num_workers() -> int:
    """Return one process for each core and one for each group of machines, mostly waited for; at most four."""
    return min(len(os.sched_getaffinity(0)) + 2, 4)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Give a process the next group, in the order of the collection, when it is nearly through with its last one."""
    cache = cache_of(config)
    config.option.loadscopereorder = cache is None or not cache.get(SECONDS, {})
    return GroupScheduling(config, log)
