"""One published Threat Cloud server on loopback, driven through its own programming interface."""

import json
import os
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import httpx

from tests.federation.real.published_server import SERVER, published_server
from tests.needs import need_program
from tests.server import NO_AUTHORITIES, free_port

START_SECONDS = 30


class ThreatCloud:
    """A server with a database, a home folder and an admin key of its own; use it as a context manager.

    A `seeded` one brings the 785 rules of its package along and publishes them anew at each start, as the public
    server does; another one has only what `publish` gave it.
    """

    def __init__(self, folder: Path, *, seeded: bool = False) -> None:
        self.node = need_program("node")
        self.program = published_server() / "node_modules" / SERVER / "dist" / "cli.js"
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "threat-cloud.log"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if seeded:
            (folder / "config").mkdir()  # without such a folder it does not look for rules
        admin_key = secrets.token_hex(16)
        headers = {"Authorization": f"Bearer {admin_key}"}
        self._admin = httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=NO_AUTHORITIES)
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TC_ADMIN_API_KEY": admin_key}

    def start(self) -> Self:
        """Start it and wait until it answers, its rules seeded."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self.node,
                    self.program,
                    "serve",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(self.port),
                    "--db",
                    "tc.db",
                ],
                env=self._environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/health", verify=NO_AUTHORITIES).status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the published server did not start:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        """End this process, and wait for it."""
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)

    def restart(self) -> None:
        """Stop and start it; a seeded one publishes all its rules anew, with new dates."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._admin.close()
        self.stop()

    def partner_key(self) -> str:
        """A new partner's key, as its administrator issues it."""
        name = f"partner-{secrets.token_hex(4)}"
        return str(self._ask("/api/admin/partner-keys", {"partnerName": name})["clientKey"])

    def client_key(self) -> str:
        """The key of a newly registered agent."""
        return str(self._ask("/api/clients/register", {"clientId": secrets.token_hex(8)})["clientKey"])

    def publish(self, rules: dict[str, str]) -> None:
        """Publish rules under these names, new ones or in place of older ones."""
        listed = [{"ruleId": name, "ruleContent": text, "source": "atr"} for name, text in rules.items()]
        assert self._ask("/api/rules", {"rules": listed})["count"] == len(rules)

    def delete(self, *names: str) -> None:
        """Delete rules by their names."""
        assert self._ask("/api/rules/bulk-delete", {"ruleIds": names})["count"] == len(names)

    def live(self) -> list[dict[str, Any]]:
        """What it serves its partners."""
        answer = httpx.get(
            f"{self.url}/api/atr-rules/live",
            headers={"Authorization": f"Bearer {self.partner_key()}"},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    def polls(self, path: str = "/api/atr-rules/live") -> list[int]:
        """The status of every answer on this path so far, by its own log."""
        entries = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [entry["status"] for entry in entries if entry.get("path") == path]

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._admin.post(path, json=body)
        assert answer.is_success, answer.text
        return dict(answer.json()["data"])
