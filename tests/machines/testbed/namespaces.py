"""The namespaces of a testbed: processes, mounts and a network of its own, which all end with one process."""

import contextlib
import fcntl
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from io import BufferedWriter
from pathlib import Path

from tests.machines.testbed.commands import Done, run
from tests.needs import lacking, need_program, need_root

PREFIX = "threatcloud-machines-"
HERE = "198.51.100.1"
"""This end of the machines' network."""

_SCRIPT = Path(__file__).with_name("holder.sh")


class Namespaces:
    """Namespaces that exist from the creation of this object until `close` ends everything in them.

    `folder` holds logs, keys and sockets of this run; `disks` is a file system in memory that exists inside only.
    """

    def __init__(self) -> None:
        need_root()
        for program in ("unshare", "nsenter", "ip", "mount", "systemd-nspawn", "ssh", "ssh-keygen"):
            need_program(program)
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = (self.folder / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.disks = self.folder / "disks"
        self.disks.mkdir()
        self._cgroup = _cgroups() / self.folder.name
        self._cgroup.mkdir()
        self.cgroup_inside = f"/sys/fs/cgroup/{self.folder.name}"
        unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._holder = subprocess.Popen(
            [*self._joining("init.scope"), *unshare, "sh", str(_SCRIPT), str(self.disks), HERE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if self._holder.stdout.readline() != b"ready\n":
            why = self._holder.stderr.read().decode(errors="replace")
            self.close()
            lacking(f"namespaces for machines: {why}")
        proc = f"/proc/{self._holder.pid}/ns"
        self._network = ["nsenter", f"--net={proc}/net"]
        self._all = [*self._network, f"--mount={proc}/mnt", f"--pid={proc}/pid_for_children"]

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        check: bool = True,
        timeout: float = 120,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        shown: str = "",
    ) -> Done:
        """Run a program of this host on the machines' network, at 198.51.100.1."""
        here = self.on_network(command)
        shown = shown or " ".join(command)
        return run(here, stdin=stdin, check=check, timeout=timeout, env=env, cwd=cwd, shown=shown)

    def on_network(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs `command` on the machines' network, as the same process."""
        return [*self._joining("here"), *self._network, *command]

    def enter(self, command: Sequence[str], *, check: bool = True) -> Done:
        """Run a program of this host inside all namespaces."""
        return run([*self._all, *command], check=check)

    def start(self, command: Sequence[str], *, output: BufferedWriter) -> subprocess.Popen[bytes]:
        """Start a program of this host inside all namespaces."""
        return subprocess.Popen(
            [*self._all, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def close(self) -> None:
        """End every process, and delete the folder."""
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        _end(self._cgroup)
        self._holder.wait(20)
        for stream in (self._holder.stdout, self._holder.stderr):
            if stream is not None:
                stream.close()
        shutil.rmtree(self.folder)
        self._lock.close()

    def _joining(self, part: str) -> list[str]:
        """Return the start of a command line whose process belongs to a part of the testbed's control group."""
        join = 'mkdir -p "$0" && echo 0 > "$0/cgroup.procs" && exec "$@"'
        return ["sh", "-c", join, str(self._cgroup / part)]


def sweep() -> None:
    """End what earlier runs left behind that were killed before they could clean up."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError), (folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its run is alive
            _end(_cgroups() / folder.name)
            shutil.rmtree(folder, ignore_errors=True)


def _cgroups() -> Path:
    """Return where the unified hierarchy of control groups is mounted on this host."""
    mounts = (line.split(" ") for line in Path("/proc/self/mounts").read_text().splitlines())
    found = [Path(where) for _, where, kind, *_ in mounts if kind == "cgroup2"]
    return found[0] if found else lacking("control groups of version 2")


def _end(cgroup: Path) -> None:
    """Kill every process of a control group, and remove it."""
    if not cgroup.exists():
        return
    (cgroup / "cgroup.kill").write_text("1")
    end = time.monotonic() + 20
    while "populated 1" in (cgroup / "cgroup.events").read_text():
        assert time.monotonic() < end, f"processes in {cgroup} do not end"
        time.sleep(0.02)
    for folder in sorted(cgroup.rglob("*/"), reverse=True):
        folder.rmdir()
    cgroup.rmdir()
