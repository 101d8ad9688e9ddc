"""Say what a test needs beyond Python: it is skipped where that is missing, and fails where all must run.

With THREATCLOUD_TEST_REQUIRE=all in the environment a missing program fails the test instead of skipping it.
"""

import os
import shutil
from typing import NoReturn

import pytest


def lacking(what: str) -> NoReturn:
    """End the calling test because `what` is not there."""
    if os.environ.get("THREATCLOUD_TEST_REQUIRE") == "all":
        pytest.fail(f"{what} is missing, and THREATCLOUD_TEST_REQUIRE=all is set", pytrace=False)
    pytest.skip(f"needs {what}")


def need_program(name: str) -> str:
    """Return the path of a program, or end the test."""
    path = shutil.which(name)
    if path is None:
        lacking(f"the program {name!r}")
    return path


def need_root() -> None:
    """End the test unless it runs as root."""
    if os.geteuid() != 0:
        lacking("root rights")
