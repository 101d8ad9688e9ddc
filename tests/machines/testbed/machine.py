"""One machine: start it, reach it over ssh as root, reboot it, stop it, destroy it."""

import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.machines.testbed.commands import Done, Failed
from tests.machines.testbed.namespaces import Namespaces

START_TIME = 60.0
"""Seconds that a machine may take from power-on to a settled systemd (measured: about 1)."""

SSH_OPTIONS = (
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=5"),
)
"""Nobody else is on this network, and every machine has new host keys."""

_SCRIPT = Path(__file__).with_name("machine.sh")


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that new machines start from. They write to layers of their own, so any number can share it."""

    suite: str
    layers: tuple[Path, ...]
    """Folders on top of each other, the uppermost first."""


class Machine:
    """A Debian machine of a testbed, the `number`th; `name` is its host name and its name in an inventory.

    `binds` maps folders of this host to where the machine sees them, read-only.
    """

    def __init__(
        self,
        name: str,
        disk: Disk,
        number: int,
        *,
        namespaces: Namespaces,
        key: Path,
        binds: Mapping[Path, str],
    ) -> None:
        self.name = name
        self.suite = disk.suite
        self.address = f"198.51.100.{10 + number}"
        self.key = key
        self._namespaces = namespaces
        self._disk = disk
        self._id = f"m{number}"
        self._folder = namespaces.disks / self._id
        self._binds = [f"--bind-ro={here}:{there}" for here, there in binds.items()]
        self._boots = namespaces.folder / f"{self._id}.boots"
        self._console = namespaces.folder / f"{self._id}-{name}.console"
        self._cgroup = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Power the machine on with the disk as it was left, and wait until systemd has settled."""
        assert self._process is None, f"{self.name} runs already"
        before = self.boots
        # A control group that was killed stays deadly for what systemd 257 starts in it: each start has its own.
        self._cgroup = f"{self._namespaces.cgroup_inside}/{self._id}-{before}"
        layers = ":".join(map(str, self._disk.layers))
        files = [str(self._boots), f"{self.key}.pub"]
        mine = [self._cgroup, str(self._folder), layers, self._id, self.name, self.address, *files]
        with self._console.open("ab") as console:
            self._process = self._namespaces.start(["sh", str(_SCRIPT), *mine, *self._binds], output=console)
        self._wait(before)

    @property
    def exists(self) -> bool:
        """Whether the machine was neither destroyed nor frozen."""
        return self._boots.exists()

    @property
    def boots(self) -> int:
        """The number of its starts."""
        return len(self._boots.read_text().split()) if self._boots.exists() else 0

    def run(
        self, command: str | Sequence[str], *, stdin: bytes = b"", check: bool = True, timeout: float = 120
    ) -> Done:
        """Run a shell command, or a list of words, as root over ssh. With `check`, raise Failed if it fails."""
        line = command if isinstance(command, str) else shlex.join(command)
        ssh = ["ssh", *SSH_OPTIONS, "-i", str(self.key), f"root@{self.address}", "--", line]
        shown = f"{self.name}: {line}"
        return self._namespaces.run(ssh, stdin=stdin, check=check, timeout=timeout, shown=shown)

    def put(self, source: Path | bytes, target: str, *, mode: str = "0644") -> None:
        """Write a file on the machine, and create its folder if needed."""
        content = source if isinstance(source, bytes) else source.read_bytes()
        quoted = shlex.quote(target)
        write = f"mkdir -p $(dirname {quoted}) && cat > {quoted} && chmod {mode} {quoted}"
        self.run(write, stdin=content)

    def get(self, source: str) -> str:
        """Read a text file of the machine."""
        return self.run(["cat", source]).out

    def wait(self) -> None:
        """Wait until systemd has settled."""
        self._wait(0)

    def reboot(self) -> None:
        """Reboot the machine in an orderly way, and wait until systemd has settled."""
        before = self.boots
        self.run("systemctl reboot", check=False)
        self._wait(before)

    def stop(self) -> None:
        """Power the machine off in an orderly way; `start` brings it back as it was."""
        assert self._process is not None, f"{self.name} does not run"
        self.run("systemctl poweroff", check=False)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:  # now and then a container hangs at the very end of its power-off
            self._kill()
        self._process = None

    def cut_power(self) -> None:
        """Stop the machine at once; `start` brings back what it had written."""
        self._kill()
        self._process = None

    def freeze(self) -> Disk:
        """Stop the machine for good, and return its disk for others to start from."""
        if self._process is not None:
            self.stop()
        kept = self._folder.with_name(f"{self._id}-frozen")
        self._namespaces.enter(["umount", f"{self._folder}/root"])
        self._namespaces.enter(["mv", f"{self._folder}/upper", str(kept)])
        self._forget()
        return Disk(self.suite, (kept, *self._disk.layers))

    def destroy(self) -> None:
        """Stop the machine at once, and delete it with its disk."""
        if self._process is not None:
            self.cut_power()
        self._namespaces.enter(["umount", f"{self._folder}/root"])
        self._forget()

    def _forget(self) -> None:
        for command in (
            ["ip", "link", "delete", self._id],
            ["ip", "netns", "delete", self._id],
            ["rm", "-rf", str(self._folder)],
        ):
            self._namespaces.enter(command)
        self._boots.unlink()

    def _kill(self) -> None:
        assert self._process is not None
        self._namespaces.enter(["sh", "-c", f"echo 1 > {self._cgroup}/cgroup.kill"])
        self._process.wait(20)

    def _wait(self, boots_before: int) -> None:
        end = time.monotonic() + START_TIME
        while time.monotonic() < end:
            if self._process is not None and self._process.poll() is not None:
                raise Failed(f"{self.name} ended with {self._process.returncode}:\n{self._log()}")
            if self.boots > boots_before:
                state = self.run("systemctl is-system-running --wait", check=False, timeout=START_TIME)
                if state.text in {"running", "degraded"}:
                    return
            time.sleep(0.1)
        raise Failed(f"{self.name} was not up after {START_TIME} s:\n{self._log()}")

    def _log(self) -> str:
        return self._console.read_text(errors="replace")[-4000:]
