"""A server that was installed on a machine: its playbooks, its command line, and who visits it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.machines.bed import Bed, Done, Machine, Recap
from tests.machines.visitor import HOSTNAME, Visitor

NETWORK = "198.51.100.0/24"

VARIABLES: Mapping[str, Any] = {
    "threatcloud_server_name": HOSTNAME,
    "threatcloud_firewall": True,
    "threatcloud_admin_networks": [NETWORK],
    "threatcloud_config": {"access": {"networks": [NETWORK]}},
}
"""What the inventory of these servers says."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One machine and the release whose playbooks are run on it."""

    bed: Bed
    machine: Machine
    release: Path

    def at(self, release: Path) -> "Installation":
        """The same machine, by the playbooks of another release."""
        return replace(self, release=release)

    def playbook(self, name: str, *, check: bool = False, **variables: Any) -> Recap:
        """Run a playbook with the usual inventory; `variables` win over it."""
        inventory = {"threatcloud": [self.machine]}
        return self.bed.playbook(
            name, inventory, release=self.release, check=check, **{**VARIABLES, **variables}
        )

    def cli(self, *words: str, check: bool = True) -> Done:
        """Run a verb on the machine, as root does."""
        return self.machine.run(["threatcloud", *words], check=check)

    def cli_json(self, *words: str) -> Any:
        """What a verb prints with `--json`."""
        return json.loads(self.cli(*words, "--json").out)

    def issue(self, role: str, subject: str) -> str:
        """The token of a new key."""
        token: str = self.cli_json("key", "issue", "--role", role, "--subject", subject)["token"]
        return token

    def visitor(self, token: str | None = None) -> Visitor:
        """Somebody on the network who trusts this server's CA."""
        ca = self.bed.folder / f"{self.machine.name}-{self.machine.address}.pem"
        if not ca.exists():
            ca.write_text(self.machine.get("/etc/threatcloud/tls/ca.pem"))
        return Visitor(self.bed, self.machine, ca, token)

    @property
    def version(self) -> str:
        """The release that answers through nginx."""
        version: str = self.visitor().get("/health").data["version"]
        return version

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return self.visitor().get("/ready").status == 200
