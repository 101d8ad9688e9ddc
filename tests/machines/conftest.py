"""Fixtures of the tests on real machines: one bed for all, and one installation for each Debian to start from."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.machines.bed import Bed, Disk, Recap
from tests.machines.installation import Installation
from tests.machines.releases import archive, unpack

TIME = 900
"""Seconds that one test may take: a busy host makes machines slow, and no test here is quick."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder their time."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(TIME))


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """The network that all machines of this run stand in."""
    with Bed() as made:
        yield made


@pytest.fixture(scope="session")
def this_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked offline archive of this tree."""
    return unpack(archive(tmp_path_factory.mktemp("release")))


@pytest.fixture(scope="session")
def installed(bed: Bed, this_release: Path) -> Callable[[str], tuple[Disk, Recap]]:
    """For a Debian (`bookworm`, `trixie`): a disk on which this release is installed, and how that went."""

    @cache
    def install(suite: str) -> tuple[Disk, Recap]:
        machine = bed.machine(f"new-{suite}", suite)
        recap = Installation(bed, machine, this_release).playbook("install")
        assert recap.clean, recap.output
        return machine.freeze(), recap

    return install


Server = Callable[[str, str], Installation]


@pytest.fixture(scope="module")
def server(bed: Bed, this_release: Path, installed: Callable[[str], tuple[Disk, Recap]]) -> Iterator[Server]:
    """Starts a machine of a given name and Debian that has this release; at the end they are all destroyed."""
    started: list[Installation] = []

    def start(name: str, suite: str) -> Installation:
        disk, _ = installed(suite)
        started.append(Installation(bed, bed.machine(name, disk), this_release))
        return started[-1]

    yield start
    for installation in started:
        if installation.machine.exists:
            installation.machine.destroy()
