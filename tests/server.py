"""A real instance for tests: `threatcloud serve` in a folder of its own, on a free loopback port."""

import contextlib
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx

REPOSITORY = Path(__file__).resolve().parent.parent
COMMAND = Path(sys.executable).with_name("threatcloud")
START_SECONDS = 60
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For plain HTTP: to read the usual certificate authorities takes each new client 20 ms."""


class Server:
    """One instance; use it as a context manager, or `start` and `stop` it by hand.

    `options` are `section.name` -> value overrides, given by environment; `config` is the text of a file.
    """

    def __init__(self, folder: Path, *, config: str = "", **options: object) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = folder / "config.toml"
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(config)
        overrides = {f"THREATCLOUD_{name.upper()}": _text(value) for name, value in options.items()}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("THREATCLOUD_")}
        self.environ = {
            **inherited,
            "THREATCLOUD_STATE_DIR": str(self.state_dir),
            "THREATCLOUD_PORT": str(self.port),
            **overrides,
        }
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Self:
        """Start the server and wait until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [COMMAND, "serve", "--config", str(self.config)],
                env=self.environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        """Poll `/ready`; fails with the log when the server ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/ready", verify=NO_AUTHORITIES).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the server did not get ready:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> int:
        """SIGTERM, and wait; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(40)
        finally:
            self._end_group()

    def kill(self) -> None:
        """SIGKILL for every process of the instance, at once."""
        assert self.process is not None
        self._end_group()
        self.process.wait(10)

    def _end_group(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)

    def __enter__(self) -> Self:
        return self if self.process is not None else self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    def cli(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb of the command line against this instance."""
        done = subprocess.run(
            [COMMAND, *args],
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{args} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def cli_json(self, *args: str) -> Any:
        """Run a verb with `--json` and return what it printed."""
        return json.loads(self.cli(*args, "--json").stdout)

    @property
    def admin_token(self) -> str:
        """The key in `<state>/admin.key`."""
        return (self.state_dir / "admin.key").read_text().strip()

    def client(self, token: str | None = None, **headers: str) -> httpx.Client:
        """An HTTP client, with a key when given."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=NO_AUTHORITIES)

    @property
    def admin(self) -> httpx.Client:
        """A client with the admin key."""
        return self.client(self.admin_token)

    def issue(self, role: str, subject: str | None = None, **more: str) -> str:
        """Issue a key over HTTP; returns its token."""
        body = {"role": role, "subject": subject or f"{role}-{secrets.token_hex(4)}", **more}
        with self.admin as admin:
            answer = admin.post("/api/admin/keys", json=body)
        assert answer.status_code == 201, answer.text
        token: str = answer.json()["data"]["token"]
        return token

    def agent(self, subject: str | None = None) -> httpx.Client:
        """A client of a newly enrolled agent."""
        return self.client(self.issue("agent", subject))


def free_port() -> int:
    """A port of loopback that nobody uses at this moment.

    The kernel gives it to no connection by itself (ip_local_port_range begins at 32768), and no other process of
    this test run draws it: each has every eighth port.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = secrets.choice(range(10_000 + worker % 8, 32_768, 8))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
