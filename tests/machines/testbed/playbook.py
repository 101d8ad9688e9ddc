"""Running ansible-playbook on the machines' network, and reading its recap."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tests.machines.testbed.commands import run
from tests.machines.testbed.machine import SSH_OPTIONS, Machine
from tests.machines.testbed.namespaces import Namespaces
from tests.needs import lacking

TIME = 600.0
"""Seconds that one playbook may take; half a minute is usual."""

_HOST = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Recap:
    """The result of a playbook: how many tasks changed something or failed, over all hosts."""

    code: int
    changed: int
    failed: int
    output: str

    @property
    def clean(self) -> bool:
        """Whether the run ended without an error."""
        return self.code == 0 and self.failed == 0


def read_recap(code: int, output: str) -> Recap:
    """Read the recap at the end of the output. An unreachable host counts as failed."""
    hosts = [tuple(map(int, numbers)) for _, *numbers in _HOST.findall(output)]
    changed = sum(host[1] for host in hosts)
    failed = sum(host[2] + host[3] for host in hosts)
    return Recap(code, changed, failed, output)


class Playbooks:
    """A runner for the playbooks of a release; it writes inventories and variables to the testbed's folder."""

    def __init__(self, namespaces: Namespaces, key: Path) -> None:
        self._namespaces = namespaces
        self._key = key
        self._numbers = count(1)

    def run(
        self,
        name: str,
        inventory: Mapping[str, Sequence[Machine]],
        *,
        release: Path,
        check: bool,
        options: Sequence[str],
        variables: Mapping[str, Any],
    ) -> Recap:
        """Run a playbook to its end, successful or not."""
        command = self._command(name, inventory, release, variables)
        command += ["--check", "--diff"] if check else []
        done = run(
            [*command, *options],
            check=False,
            timeout=TIME,
            env=self._environment(release),
            cwd=release / "ansible",
            shown=name,
        )
        return read_recap(done.code, done.out + done.err)

    def start(
        self,
        name: str,
        inventory: Mapping[str, Sequence[Machine]],
        *,
        release: Path,
        variables: Mapping[str, Any],
    ) -> subprocess.Popen[str]:
        """Start a playbook; the process is ansible-playbook itself."""
        return subprocess.Popen(
            self._command(name, inventory, release, variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment(release),
            cwd=release / "ansible",
            text=True,
            start_new_session=True,
        )

    def _command(
        self,
        name: str,
        inventory: Mapping[str, Sequence[Machine]],
        release: Path,
        variables: Mapping[str, Any],
    ) -> list[str]:
        program = Path(sys.executable).with_name("ansible-playbook")
        if not program.exists():
            lacking("ansible-core in the environment of the tests")
        number = next(self._numbers)
        hosts = self._namespaces.folder / f"inventory-{number}.json"
        hosts.write_text(json.dumps(self._inventory(inventory)))
        extra = self._namespaces.folder / f"variables-{number}.json"
        extra.write_text(json.dumps(variables))
        playbook = release / "ansible" / "playbooks" / f"{name}.yml"
        command = [str(program), "--inventory", str(hosts), "--extra-vars", f"@{extra}", str(playbook)]
        return self._namespaces.on_network(command)

    def _inventory(self, groups: Mapping[str, Sequence[Machine]]) -> dict[str, Any]:
        children = {
            group: {"hosts": {machine.name: {"ansible_host": machine.address} for machine in machines}}
            for group, machines in groups.items()
        }
        access = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self._key),
            "ansible_ssh_common_args": " ".join(SSH_OPTIONS),
        }
        return {"all": {"vars": access, "children": children}}

    def _environment(self, release: Path) -> dict[str, str]:
        """Return the environment without the user's settings of Ansible; connections end soon after their machine."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        keep_alive = (
            "-o ControlMaster=auto -o ControlPersist=30s -o ServerAliveInterval=2 -o ServerAliveCountMax=3"
        )
        return kept | {
            "ANSIBLE_CONFIG": str(release / "ansible" / "ansible.cfg"),
            "ANSIBLE_HOME": str(self._namespaces.folder / "ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._namespaces.folder / "ssh"),
            "ANSIBLE_SSH_ARGS": keep_alive,
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        }
