"""The part of docs/install.md that does without Ansible, run as it is printed."""

import re
from pathlib import Path

from app import __version__
from tests.machines.installation import Installation
from tests.machines.testbed import Testbed
from tests.machines.testbed.testbed import REPOSITORY
from tests.machines.visitor import HOSTNAME

CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 30"
    f" -subj /CN={HOSTNAME} -addext subjectAltName=DNS:{HOSTNAME}"
    " -keyout /etc/threatcloud/tls/server.key -out /etc/threatcloud/tls/server.pem"
    " && cp /etc/threatcloud/tls/server.pem /etc/threatcloud/tls/ca.pem"
)
"""Stands for the organisation's."""


def blocks() -> list[str]:
    guide = (REPOSITORY / "docs" / "install.md").read_text()
    return re.findall(r"```sh\n(.*?)```", guide.partition("## By hand")[2], re.DOTALL)


def test_the_commands_for_an_installation_by_hand_work_as_printed(
    testbed: Testbed, this_release: Path
) -> None:
    program, proxy = blocks()
    archive = f"/root/{this_release.name}"
    machine = testbed.machine("byhand", "bookworm", binds={this_release: archive})
    try:
        machine.run(f"cd {archive} && set -eu && {program}", timeout=200)
        machine.run(CERTIFICATE)
        machine.run("set -eu\n" + proxy.replace("name=threatcloud.corp.example", f"name={HOSTNAME}"))
        installation = Installation(testbed, machine, this_release)
        assert installation.version == __version__
        assert installation.ready
        token = installation.issue("agent", "guard-1")
        assert installation.visitor(token).get("/api/atr-rules").status == 200
    finally:
        machine.destroy()
