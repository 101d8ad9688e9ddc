"""The units: systemd reads them without a word, they are closed, and they say what the server says."""

import re
import subprocess
from pathlib import Path

import pytest

from app.config import ServerOptions
from app.web.lifespan import FIRST_LOCAL_SECONDS, FIRST_REMOTE_SECONDS
from app.web.server import STOP_SECONDS
from app.web.supervision.sockets import NAME
from tests.needs import need_program
from tests.server import REPOSITORY

UNITS = REPOSITORY / "deploy" / "systemd"
SERVICES = ("threatcloud.service", "threatcloud-backup.service")
EXPOSURE = 2.0
ITS_OWN = {"RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"}
"""What the server may and a backup may not."""
FIRST_OF_ITS_KIND = "CapabilityBoundingSet="
"""Where the list of what a process may not do begins."""


def settings(name: str) -> list[str]:
    lines = (UNITS / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "["))]


def setting(name: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in settings(name) if line.startswith(f"{key}=")]


def seconds(name: str, key: str) -> int:
    (value,) = setting(name, key)
    return int(value)


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    program = need_program("systemd-analyze")
    for path in UNITS.iterdir():
        (tmp_path / path.name).write_text(
            path.read_text().replace("/opt/threatcloud/current/bin/threatcloud", "/bin/true")
        )
    done = subprocess.run(
        [program, "verify", *(str(tmp_path / path.name) for path in UNITS.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_the_services_are_closed(name: str) -> None:
    done = subprocess.run(
        [need_program("systemd-analyze"), "security", "--offline=yes", "--no-pager", str(UNITS / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE, done.stdout


def test_a_backup_may_not_do_more_than_the_server() -> None:
    server, backup = map(settings, SERVICES)
    closed = set(server[server.index(FIRST_OF_ITS_KIND) :]) - ITS_OWN
    assert len(closed) > 25
    assert {line for line in closed if not line.startswith("WantedBy=")} <= set(backup)


def test_the_sockets_are_what_the_configuration_means_by_default() -> None:
    server = ServerOptions()
    assert setting("threatcloud.socket", "ListenStream") == [
        f"{server.host}:{server.port}",
        f"/var/lib/{setting('threatcloud.service', 'StateDirectory')[0]}/{NAME}",
    ]
    assert setting("threatcloud.socket", "SocketMode") == ["0600"]


def test_there_is_time_to_start_and_to_stop() -> None:
    assert seconds("threatcloud.service", "TimeoutStartSec") > 2 * (
        FIRST_LOCAL_SECONDS + FIRST_REMOTE_SECONDS
    )
    stop = seconds("threatcloud.service", "TimeoutStopSec")
    assert stop > ServerOptions().graceful_seconds + STOP_SECONDS


def test_every_setting_is_explained() -> None:
    """A comment stands above each, or above the few that it is about; a title speaks for itself."""
    for path in UNITS.iterdir():
        explained = False
        for line in path.read_text().splitlines():
            if line.startswith("#"):
                explained = True
            elif not line or line.startswith("["):
                explained = False
            else:
                assert explained or line.startswith(("Description=", "WantedBy=")), f"{path.name}: {line}"
