"""A server installed on a machine: its playbooks, its command line and its clients."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.machines.testbed import Done, Machine, Recap, Testbed
from tests.machines.visitor import HOSTNAME, Visitor

NETWORK = "198.51.100.0/24"

VARIABLES: Mapping[str, Any] = {
    "threatcloud_server_name": HOSTNAME,
    "threatcloud_firewall": True,
    "threatcloud_admin_networks": [NETWORK],
    "threatcloud_config": {"access": {"networks": [NETWORK]}},
}
"""The variables of these servers in the inventory."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One machine and the release whose playbooks run on it."""

    testbed: Testbed
    machine: Machine
    release: Path

    def at(self, release: Path) -> "Installation":
        """Return the same machine with the playbooks of another release."""
        return replace(self, release=release)

    def playbook(self, name: str, *, check: bool = False, **variables: Any) -> Recap:
        """Run a playbook with the usual inventory; `variables` win over it."""
        inventory = {"threatcloud": [self.machine]}
        return self.testbed.playbook(
            name, inventory, release=self.release, check=check, **{**VARIABLES, **variables}
        )

    def cli(self, *words: str, check: bool = True) -> Done:
        """Run a command of the server on the machine, as root."""
        return self.machine.run(["threatcloud", *words], check=check)

    def cli_json(self, *words: str) -> Any:
        """Return what a command prints with `--json`."""
        return json.loads(self.cli(*words, "--json").out)

    def issue(self, role: str, subject: str) -> str:
        """Issue a key and return its token."""
        token: str = self.cli_json("key", "issue", "--role", role, "--subject", subject)["token"]
        return token

    def visitor(self, token: str | None = None) -> Visitor:
        """Return a client on the network that trusts this server's CA."""
        ca = self.testbed.folder / f"{self.machine.name}-{self.machine.address}.pem"
        if not ca.exists():
            ca.write_text(self.machine.get("/etc/threatcloud/tls/ca.pem"))
        return Visitor(self.testbed, self.machine, ca, token)

    @property
    def version(self) -> str:
        """The version that the server answers with through nginx."""
        version: str = self.visitor().get("/health").data["version"]
        return version

    @property
    def ready(self) -> bool:
        """Whether the server is ready."""
        return self.visitor().get("/ready").status == 200
