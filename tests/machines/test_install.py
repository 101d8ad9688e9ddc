"""Installing on Debian 12 and 13 from the offline archive without a network: first run, second run, reboot."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app import __version__
from tests.machines.conftest import Server
from tests.machines.installation import Installation
from tests.machines.testbed import Disk, Recap

EXPOSURE_LIMIT = 2.0
"""The highest exposure level that `systemd-analyze security` may report, from 0 (hardened) to 10 (open)."""


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def suite(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def installation(server: Server, suite: str) -> Installation:
    return server("debian", suite)


def test_the_archive_verifies_itself(this_release: Path) -> None:
    done = subprocess.run(["./verify"], cwd=this_release, capture_output=True, text=True, check=True)
    assert f"threatcloud {__version__}: complete, unchanged, signed" in done.stdout


def test_it_is_installed_and_survives_a_reboot(
    installed: Callable[[str], tuple[Disk, Recap]], suite: str, installation: Installation
) -> None:
    _, recap = installed(suite)
    assert recap.changed > 10
    assert installation.version == __version__
    assert installation.ready
    installation.machine.reboot()
    assert installation.machine.run("systemctl --failed --plain --no-legend").text == ""
    assert installation.ready
    assert installation.visitor(installation.issue("agent", "guard-1")).get("/api/atr-rules").status == 200


def test_running_it_again_changes_nothing(installation: Installation) -> None:
    for check in (True, False):
        recap = installation.playbook("install", check=check)
        assert recap.clean, recap.output
        assert recap.changed == 0, recap.output


def test_the_service_is_hardened(installation: Installation) -> None:
    output = installation.machine.run("systemd-analyze security threatcloud.service --no-pager").out
    found = re.search(r"Overall exposure level for threatcloud.service: ([0-9.]+)", output)
    assert found, output
    assert float(found[1]) <= EXPOSURE_LIMIT, output


def test_the_unit_files_have_no_errors(installation: Installation) -> None:
    units = "threatcloud.service threatcloud.socket threatcloud-backup.service threatcloud-backup.timer"
    done = installation.machine.run(f"systemd-analyze verify {units} 2>&1 | grep -i threatcloud", check=False)
    assert done.text == ""


def test_nobody_else_can_read_the_secrets(installation: Installation) -> None:
    modes = installation.machine.run(
        "stat -c '%n %U:%G %a' /etc/threatcloud/config.toml /etc/threatcloud/secrets /etc/threatcloud/ca"
        " /etc/threatcloud/tls/server.key /var/lib/threatcloud /var/backups/threatcloud"
    ).text.splitlines()
    assert modes == [
        "/etc/threatcloud/config.toml root:threatcloud 640",
        "/etc/threatcloud/secrets root:root 700",
        "/etc/threatcloud/ca root:root 700",
        "/etc/threatcloud/tls/server.key root:root 600",
        "/var/lib/threatcloud threatcloud:threatcloud 700",
        "/var/backups/threatcloud threatcloud:threatcloud 700",
    ]
    readable = installation.machine.run(
        "setpriv --reuid=nobody --regid=nogroup --clear-groups"
        " find /var/lib/threatcloud /var/backups/threatcloud /etc/threatcloud/ca /etc/threatcloud/secrets -type f",
        check=False,
    )
    assert readable.out == ""
