"""The testbed: machines side by side, and the playbooks that run on them."""

import shlex
import subprocess
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.machines.testbed.commands import Done, run
from tests.machines.testbed.images import images
from tests.machines.testbed.machine import Disk, Machine
from tests.machines.testbed.namespaces import Namespaces
from tests.machines.testbed.playbook import Playbooks, Recap

REPOSITORY = Path(__file__).resolve().parents[3]


class Testbed:
    """A context manager for a network of machines; at its end nothing of them is left."""

    __test__ = False  # pytest takes a class for tests when its name begins like this one

    def __init__(self) -> None:
        self._images = images()
        self._namespaces = Namespaces()
        self.folder = self._namespaces.folder
        self._key = self.folder / "key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f", str(self._key)])
        self._count = 0
        self._playbooks = Playbooks(self._namespaces, self._key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self._namespaces.close()

    def machine(self, name: str, disk: str | Disk, *, binds: Mapping[Path, str] | None = None) -> Machine:
        """Start a new machine with a fresh Debian (`bookworm` or `trixie`) or a frozen disk."""
        self._count += 1
        made = Machine(
            name,
            Disk(disk, (self._images[disk],)) if isinstance(disk, str) else disk,
            self._count,
            namespaces=self._namespaces,
            key=self._key,
            binds=binds or {},
        )
        made.start()
        return made

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes = b"",
        check: bool = True,
        timeout: float = 120,
    ) -> Done:
        """Run a command of this host on the machines' network, at 198.51.100.1."""
        words = shlex.split(command) if isinstance(command, str) else command
        return self._namespaces.run(words, stdin=stdin, check=check, timeout=timeout)

    def start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start a command of this host on the machines' network; the process is that of the command itself."""
        return subprocess.Popen(
            self._namespaces.on_network(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def playbook(
        self,
        name: str,
        inventory: Mapping[str, Sequence[Machine]],
        *,
        release: Path = REPOSITORY,
        check: bool = False,
        options: Sequence[str] = (),
        **variables: Any,
    ) -> Recap:
        """Run ansible/playbooks/<name>.yml of an unpacked release (this tree, unless given) on groups of machines."""
        return self._playbooks.run(
            name, inventory, release=release, check=check, options=options, variables=variables
        )

    def start_playbook(
        self,
        name: str,
        inventory: Mapping[str, Sequence[Machine]],
        *,
        release: Path = REPOSITORY,
        **variables: Any,
    ) -> subprocess.Popen[str]:
        """Start a playbook without waiting for its end; the process is ansible-playbook itself."""
        return self._playbooks.start(name, inventory, release=release, variables=variables)
