"""An agent that pulls rules at short intervals, each time over a new connection, and records every pull."""

import contextlib
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.machines.installation import Installation
from tests.machines.visitor import HOSTNAME

PAUSE = 0.25
"""Seconds between two pulls: 240 a minute, well below the limit of an agent's key."""
RETRY_PAUSE = 1.0
"""Seconds before the one retry."""
ANSWER_TIMEOUT = 30.0
"""Seconds that an answer may take."""


@dataclass(frozen=True, slots=True)
class Pull:
    """One pull, with its retry if it took one."""

    tries: int
    status: int
    """Of the last try; 0 when there was no answer."""
    seconds: float
    error: str


class Poller:
    """A context manager around an operation that must not disturb clients; `pulls` has the record afterwards."""

    def __init__(self, installation: Installation, token: str) -> None:
        self.pulls: list[Pull] = []
        self._bed = installation.testbed
        self._log = installation.testbed.folder / f"pulls-{time.monotonic_ns()}"
        address, ca = installation.machine.address, str(installation.visitor().ca)
        self._command = [sys.executable, "-m", "tests.machines.poller", address, ca, token, str(self._log)]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._log.touch()
        self._process = self._bed.start(self._command)
        while not self._log.stat().st_size:
            assert self._process.poll() is None, self._process.communicate()[0]
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        output = self._process.communicate(timeout=ANSWER_TIMEOUT * 3)[0]
        assert self._process.returncode == 0, output
        self.pulls = [Pull(**json.loads(line)) for line in self._log.read_text().splitlines()]

    @property
    def failed(self) -> list[Pull]:
        """Pulls that failed although they were tried twice."""
        return [pull for pull in self.pulls if pull.status not in {200, 304}]


def main(address: str, ca: str, token: str, log: str) -> None:
    """Pull until SIGTERM, and write one JSON line for each pull."""
    context = ssl.create_default_context(cafile=ca)
    headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
    going = True

    def stop(_number: int, _frame: types.FrameType | None) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, stop)
    with Path(log).open("a", buffering=1) as lines:
        while going:
            begun = time.monotonic()
            status, error = pull(address, context, headers)
            tries = 1
            if status not in {200, 304}:
                time.sleep(RETRY_PAUSE)
                tries, (status, again) = 2, pull(address, context, headers)
                error = f"{error}; {again}"
            taken = time.monotonic() - begun
            record = {"tries": tries, "status": status, "seconds": taken, "error": error}
            lines.write(json.dumps(record) + "\n")
            time.sleep(PAUSE)


def pull(address: str, context: ssl.SSLContext, headers: dict[str, str]) -> tuple[int, str]:
    """Return the status of one try, or 0 and the reason; keep the ETag for the next."""
    try:
        with (
            contextlib.closing(http.client.HTTPSConnection(HOSTNAME, timeout=ANSWER_TIMEOUT)) as connection,
            socket.create_connection((address, 443), timeout=ANSWER_TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=HOSTNAME) as secured,
        ):
            connection.sock = secured
            connection.request("GET", "/api/atr-rules", headers=headers)
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                headers["If-None-Match"] = str(response.getheader("ETag"))
            return response.status, "" if response.status in {200, 304} else f"status {response.status}"
    except (OSError, http.client.HTTPException) as problem:
        return 0, repr(problem)


if __name__ == "__main__":
    main(*sys.argv[1:])
