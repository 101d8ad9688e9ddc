"""A run that is killed half way is finished by the next one."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import __version__
from tests.machines.conftest import Server
from tests.machines.installation import VARIABLES, Installation
from tests.machines.testbed import Machine, Testbed

POINTS = (
    "Install the packages",
    "Mark the release as complete",
    "Create the private CA",
    "RUNNING HANDLER",
)
"""The tasks at which a run is killed, in order: each run has to get past the points before."""


@pytest.fixture
def bare(testbed: Testbed) -> Iterator[Machine]:
    machine = testbed.machine("killed", "trixie")
    yield machine
    machine.destroy()


def kill_at(installation: Installation, point: str, **variables: object) -> None:
    """Start the installation; shortly after it begins the task `point`, kill it and what it started over ssh."""
    process = installation.testbed.start_playbook(
        "install",
        {"threatcloud": [installation.machine]},
        release=installation.release,
        **{**VARIABLES, **variables},
    )
    output = read_until(process, point)
    time.sleep(0.5)
    process.kill()
    process.communicate()
    assert process.returncode == -9, f"it was over before {point} came:\n{output}"
    # Its worker and the connection live on without it, and the command on the machine without them.
    installation.machine.run("systemctl kill --signal=KILL ssh.service", check=False)
    installation.machine.wait()


def read_until(process: subprocess.Popen[str], point: str) -> str:
    """Read the output up to the task whose name contains the point, and return it."""
    output = ""
    assert process.stdout is not None
    for line in process.stdout:
        output += line
        if line.startswith(("TASK [", "RUNNING HANDLER [")) and point in line:
            return output
    raise AssertionError(f"it never came to {point}:\n{output}")


def test_an_installation_is_finished(testbed: Testbed, bare: Machine, this_release: Path) -> None:
    installation = Installation(testbed, bare, this_release)
    for number, point in enumerate(POINTS):
        kill_at(installation, point)
        if number % 2:
            bare.cut_power()
            bare.start()
    recap = installation.playbook("install")
    assert recap.clean, recap.output
    assert installation.version == __version__
    assert installation.ready
    again = installation.playbook("install")
    assert (again.clean, again.changed) == (True, 0), again.output
    assert bare.run("ls /opt/threatcloud/releases").text == __version__


def test_a_changed_setting_is_in_force_although_the_run_that_wrote_it_was_killed(server: Server) -> None:
    """Handlers that were notified die with their run; the next run finds the file as it should be."""
    installation = server("halfway", "bookworm")
    closed: dict[str, Any] = {"threatcloud_config": {"access": {"registration": "closed"}}}
    kill_at(installation, "Copy the certificate", **closed)  # the task after the one that writes the file
    assert 'registration = "closed"' in installation.machine.get("/etc/threatcloud/config.toml")
    recap = installation.playbook("install", **closed)
    assert recap.clean, recap.output
    answer = installation.visitor().post("/api/clients/register", {"clientId": "late-guard"})
    assert answer.status == 403, answer
