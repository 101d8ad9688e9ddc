"""A client on the machines' network that calls a server over HTTPS with curl."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.machines.testbed import Done, Machine, Testbed

HOSTNAME = "threatcloud.example"
"""The name in the servers' certificates. It is in no DNS."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def json(self) -> Any:
        """The whole body."""
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        """The content of the envelope."""
        return self.json["data"]


@dataclass(frozen=True, slots=True)
class Visitor:
    """A client at 198.51.100.1 that trusts one CA and has a key, or none."""

    testbed: Testbed
    server: Machine
    ca: Path
    token: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Answer:
        """Send a GET request. Raise Failed if the connection or TLS fails."""
        return self._call(path, b"", headers)

    def post(self, path: str, body: object, **headers: str) -> Answer:
        """Send the body as JSON in a POST request."""
        return self._call(path, json.dumps(body).encode(), headers)

    def curl(self, path: str, *options: str, stdin: bytes = b"", check: bool = True) -> Done:
        """Call curl for a path of the server, by its name, with further options."""
        resolve = f"{HOSTNAME}:443:{self.server.address}"
        command = ["curl", "--silent", "--show-error", "--max-time", "20", "--resolve", resolve]
        return self.testbed.run([*command, *options, f"https://{HOSTNAME}{path}"], stdin=stdin, check=check)

    def _call(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        sent = dict(self.headers) | {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        options = ["--cacert", str(self.ca), "--http1.1", "--include"]
        if body:
            sent["Content-Type"] = "application/json"
            options += ["--data-binary", "@-"]
        options += [part for name, value in sent.items() for part in ("--header", f"{name}: {value}")]
        head, _, rest = self.curl(path, *options, stdin=body).out.partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        return Answer(int(status.split(" ")[1]), {name.lower(): value for name, _, value in pairs}, rest)
