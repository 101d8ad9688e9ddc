"""One archive for this machine's own Python, built once; the tests that need another one say so."""

import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.offline.build import REPOSITORY, build_archive
from deploy.offline.errors import BuildError
from deploy.offline.targets import EVERY, Target
from tests.needs import lacking, need_program

EPOCH = 1_763_700_000
HERE = f"cp{sys.version_info.major}{sys.version_info.minor}-{platform.machine()}"


def build(output: Path, targets: Sequence[Target], *, tree: Path = REPOSITORY, unpacked: bool = True) -> Path:
    """Build an archive with a throw-away key, or end the test where wheels can neither be found nor fetched."""
    need_program("ssh-keygen")
    need_program("zstd")
    try:
        return build_archive(
            tree, output, targets, unpacked=unpacked, environment={"SOURCE_DATE_EPOCH": str(EPOCH)}
        )
    except BuildError as error:
        if "does not answer" in str(error):
            lacking("a package index, or the wheels of an earlier run in .cache/wheels")
        raise


@pytest.fixture(scope="session")
def here() -> Target:
    """The target that this Python is."""
    names = [target.name for target in EVERY]
    if HERE not in names:
        lacking(f"a Python that archives are made for, and this is {HERE}")
    return EVERY[names.index(HERE)]


@pytest.fixture(scope="session")
def archive(here: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked archive; read it only."""
    return build(tmp_path_factory.mktemp("dist"), [here])
