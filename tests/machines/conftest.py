"""Fixtures of the tests on machines: one testbed for all, and one installed disk for each Debian to start from."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.machines.installation import Installation
from tests.machines.releases import archive, unpack
from tests.machines.testbed import Disk, Recap, Testbed

TIME = 900
"""Seconds that one test may take: a busy host makes machines slow, and no test here is quick."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test of this folder a timeout of its own."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(TIME))


@pytest.fixture(scope="session")
def testbed() -> Iterator[Testbed]:
    """Provide the network that all machines of this run are on."""
    with Testbed() as network:
        yield network


@pytest.fixture(scope="session")
def this_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the offline archive of this tree, and provide it unpacked."""
    return unpack(archive(tmp_path_factory.mktemp("release")))


@pytest.fixture(scope="session")
def installed(testbed: Testbed, this_release: Path) -> Callable[[str], tuple[Disk, Recap]]:
    """Provide, for `bookworm` or `trixie`, a disk with this release installed and the recap of its installation."""

    @cache
    def install(suite: str) -> tuple[Disk, Recap]:
        machine = testbed.machine(f"new-{suite}", suite)
        recap = Installation(testbed, machine, this_release).playbook("install")
        assert recap.clean, recap.output
        return machine.freeze(), recap

    return install


Server = Callable[[str, str], Installation]


@pytest.fixture(scope="module")
def server(
    testbed: Testbed, this_release: Path, installed: Callable[[str], tuple[Disk, Recap]]
) -> Iterator[Server]:
    """Start machines of a given name and Debian that have this release; destroy them all at the end."""
    started: list[Installation] = []

    def start(name: str, suite: str) -> Installation:
        disk, _ = installed(suite)
        started.append(Installation(testbed, testbed.machine(name, disk), this_release))
        return started[-1]

    yield start
    for installation in started:
        if installation.machine.exists:
            installation.machine.destroy()
