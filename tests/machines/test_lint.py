"""Playbooks and roles pass ansible-lint's production profile and yamllint."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machines.testbed.testbed import REPOSITORY
from tests.needs import lacking

ANSIBLE = REPOSITORY / "ansible"


def tool(name: str) -> str:
    """Return the path of a program in the environment of the tests."""
    path = Path(sys.executable).with_name(name)
    return str(path) if path.exists() else lacking(f"{name} in the environment of the tests")


@pytest.mark.parametrize(
    "command",
    [
        ["ansible-lint", "--offline", "--strict", "--profile", "production", "--nocolor"],
        ["yamllint", "--strict", "."],
    ],
    ids=lambda command: command[0],
)
def test_playbooks_and_roles_pass(command: list[str], tmp_path: Path) -> None:
    name, *options = command
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [tool(name), *options],
        cwd=ANSIBLE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
