"""nginx as a child process with a configuration and a folder of its own; it touches no nginx of the machine."""

import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.needs import need_program

START_SECONDS = 20


class Nginx:
    """Runs one configuration, which must say `daemon off` and listen on `port` of loopback."""

    def __init__(self, folder: Path, text: str, port: int) -> None:
        self.program = need_program("nginx")
        self.folder = folder
        self.port = port
        folder.mkdir(parents=True, exist_ok=True)
        self.configuration = folder / "nginx.conf"
        self.configuration.write_text(text if has_ipv6() else without_ipv6(text))
        self.log = folder / "nginx.log"

    def __enter__(self) -> Self:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [self.program, "-e", "stderr", "-p", str(self.folder), "-c", str(self.configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._listens():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def has_ipv6() -> bool:
    """Can this machine listen on ::1?"""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def without_ipv6(text: str) -> str:
    """A configuration as its own comment says to change it on hosts without IPv6."""
    return "".join(line for line in text.splitlines(keepends=True) if "listen [::1]" not in line)


def listening(port: int) -> set[str]:
    """The addresses on which anybody listens at a TCP port, as the kernel lists them (proc_net_tcp(5))."""
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            local, state = line.split()[1], line.split()[3]
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:
                words = bytes.fromhex(address)
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                found.add(socket.inet_ntop(family, packed))
    return found
