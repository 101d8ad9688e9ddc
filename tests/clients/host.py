"""A host of a fleet: a home folder of its own, a real client in Node, and no way to anywhere but loopback."""

import json
import os
import secrets
import subprocess
from pathlib import Path
from typing import Any

from tests.clients.packages import client_packages, need_node
from tests.flows.fleet import eventually
from tests.server import Server

HERE = Path(__file__).parent


class Host:
    """Runs clients in `folder`, which is also their HOME; `settings` go into their environment."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.node = need_node()
        self.packages = client_packages()
        folder.mkdir(parents=True, exist_ok=True)
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CLIENT_PACKAGES": str(self.packages),
            "NODE_OPTIONS": f"--require={HERE / 'preload.cjs'}",
            "NO_COLOR": "1",
            **settings,
        }

    def run(self, script: Path, *args: str, cwd: Path | None = None, given: str = "") -> Any:
        """Run a program to its end; returns the `CompletedProcess`, whatever its exit code."""
        return subprocess.run(
            [self.node, str(script), *args],
            env=self.environ,
            cwd=cwd or self.folder,
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def call(self, driver: str, given: object) -> Any:
        """Run one of the drivers beside this file: JSON in, JSON out."""
        done = self.run(HERE / driver, given=json.dumps(given))
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)

    def start(self, script: Path, *args: str) -> subprocess.Popen[str]:
        """Start a program that takes lines; its output goes to `client.log` in the folder."""
        with (self.folder / "client.log").open("w") as log:
            return subprocess.Popen(
                [self.node, str(script), *args],
                env=self.environ,
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
            )

    @property
    def log(self) -> str:
        """What the started program said so far, in whole lines."""
        return (self.folder / "client.log").read_text().rpartition("\n")[0]


def mark(server: Server) -> str:
    """A line in the instance's access log; what `requests_since` gives begins after it."""
    path = f"/mark-{secrets.token_hex(8)}"
    with server.client() as nobody:
        assert nobody.get(path).status_code == 404
    eventually(lambda: path in server.log.read_text(), "the mark in the access log")
    return path


def requests_since(server: Server, start: str, *awaited: str) -> list[tuple[str, str, int]]:
    """Method, path and status of what clients asked since a mark, once each of the paths `awaited` is among it."""

    def read() -> list[tuple[str, str, int]]:
        end = mark(server)
        whole, _, _ = server.log.read_text().rpartition("\n")
        written = [line for line in whole.splitlines() if '"event":"request"' in line]
        lines = [json.loads(line) for line in written]
        paths = [line["path"] for line in lines]
        between = lines[paths.index(start) + 1 : paths.index(end)]
        return [
            (line["method"], line["path"], line["status"])
            for line in between
            if not line["path"].startswith("/mark-")
        ]

    eventually(lambda: set(awaited) <= {path for _, path, _ in read()}, f"requests for {awaited}")
    return read()


def failures(requests: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Those that were not answered with 2xx, which is what stock clients take for success."""
    return [request for request in requests if not 200 <= request[2] < 300]
