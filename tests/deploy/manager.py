"""A service manager for tests: it holds the sockets across restarts and reads what the server tells it."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.server import COMMAND, Server

LAUNCH = """
import fcntl, os, sys
given = [int(word) for word in sys.argv[1].split(",")]
high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 100) for descriptor in given]
for number, descriptor in enumerate(high, 3):
    os.dup2(descriptor, number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)), LISTEN_FDNAMES="a:b")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Activated(Server):
    """An instance whose sockets are opened here, and stay open while it is away."""

    def __init__(self, folder: Path, *, config: str = "", **options: object) -> None:
        super().__init__(folder, config=config, **options)
        self.state_dir.mkdir(mode=0o700)
        self.address = socket.create_server(("127.0.0.1", self.port), backlog=4096)
        self.control = unix_listener(self.state_dir / "control.sock", 0o600)
        self.sockets = [self.address, self.control]

    def start(self, *, wait: bool = True) -> Self:
        """Start the server on the sockets."""
        descriptors = [listener.fileno() for listener in self.sockets]
        command = [sys.executable, "-c", LAUNCH, ",".join(map(str, descriptors))]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, COMMAND, "serve", "--config", str(self.config)],
                env=self.environ,
                cwd=self.folder,
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        for listener in self.sockets:
            listener.close()


class Channel:
    """The datagram socket that `NOTIFY_SOCKET` names, and every field that came in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.messages: list[dict[str, str]] = []

    def until(self, field: str, seconds: float = 60) -> dict[str, str]:
        """Read messages up to the first with this field, and return that one."""
        self._socket.settimeout(seconds)
        while True:
            text = self._socket.recv(4096).decode()
            message = dict(line.split("=", 1) for line in text.splitlines())
            self.messages.append(message)
            if field in message:
                return message

    def waiting(self) -> list[dict[str, str]]:
        """What has come in by now and was not read yet."""
        before = len(self.messages)
        with contextlib.suppress(BlockingIOError):
            self._socket.setblocking(False)
            self.until("none has this", 0)
        return self.messages[before:]

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


@contextlib.contextmanager
def channel(name: str) -> Iterator[Channel]:
    """A channel for the block."""
    opened = Channel(name)
    try:
        yield opened
    finally:
        opened.close()


def unix_listener(path: Path, mode: int) -> socket.socket:
    """A listening unix socket with this mode."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(mode)
    listener.listen(64)
    return listener


def connections_waiting(listener: socket.socket) -> int:
    """How many have connected to a listener that nobody serves."""
    listener.setblocking(False)
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            connection, _ = listener.accept()
            connection.close()
            count += 1
    return count


def children(pid: int) -> list[int]:
    """The processes that this one has started and that still run."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def environment(pid: int) -> dict[str, str]:
    """What a process was started with."""
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)
