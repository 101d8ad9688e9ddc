"""Upstreams of a running instance, seen and driven over HTTP."""

import json
import time
from pathlib import Path
from typing import Any

import httpx

from tests.flows.fleet import eventually
from tests.server import Server

DAY = 86_400
"""An interval that keeps the schedule out of a test: it pulls at the start and when it is told to."""


def upstream(kind: str, url: str | None = None, *, name: str = "up", **settings: str | int) -> str:
    """One `[[upstream]]` of a configuration."""
    given = {"name": name, "kind": kind, "interval": DAY, **({"url": url} if url else {}), **settings}
    lines = [
        f"{field} = {value if isinstance(value, int) else repr(value)}" for field, value in given.items()
    ]
    return "\n".join(["[[upstream]]", *lines, ""])


def status(server: Server, name: str = "up") -> dict[str, Any]:
    """What the instance says of an upstream."""
    return dict(_get(server, f"/api/admin/upstreams/{name}"))


def pulled_once(server: Server, name: str = "up") -> dict[str, Any]:
    """Wait for the end of the pull that every start brings; returns the status after it."""
    eventually(lambda: (last_pull(server, name) or {}).get("result") is not None, f"a pull of {name}", 60)
    return status(server, name)


def pull(server: Server, name: str = "up") -> dict[str, Any]:
    """Pull now, and wait for the end; returns the result, and `receivedBytes` with it."""
    with server.admin as admin:
        started = admin.post(f"/api/admin/upstreams/{name}/sync")
    assert started.status_code == 202, started.text
    number = started.json()["data"]["pull"]["id"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        last = last_pull(server, name)
        if last and last["id"] == number and last["result"] is not None:
            return {**last["result"], "receivedBytes": last["receivedBytes"]}
        time.sleep(0.05)
    raise AssertionError(f"the pull of {name} did not end")


def last_pull(server: Server, name: str) -> dict[str, Any] | None:
    """The running or last pull; None when there was none since the start."""
    found: dict[str, Any] | None = _get(server, f"/api/admin/upstreams/{name}/pull")["pull"]
    return found


def approve(server: Server, name: str = "up") -> list[str]:
    """Approve all that is held; returns the rule ids."""
    with server.admin as admin:
        answer = admin.post(f"/api/admin/upstreams/{name}/approve", json={})
    assert answer.is_success, answer.text
    return list(answer.json()["data"]["approved"])


def served(server: Server) -> tuple[int, str, bytes]:
    """The publication's serial, and the ETag and body that partners get, apart from the request id."""
    with server.client(server.issue("partner")) as partner:
        answer = partner.get("/api/atr-rules/live")
    assert answer.status_code == 200, answer.text
    body = answer.content.replace(answer.json()["request_id"].encode(), b"-")
    serial = _get(server, "/api/publications/current")["serial"]
    return serial, answer.headers["etag"], body


def live_polls(server: Server, start: float) -> list[int]:
    """The status of every answer to a live poll since then (seconds since 1970), by the instance's own log."""

    def requests() -> list[dict[str, Any]]:
        lines = [line for line in server.log.read_text().splitlines() if '"event":"request"' in line]
        return [entry for line in lines if (entry := json.loads(line))["at"] > start]

    with server.client() as client:
        marker = client.get("/health").headers["x-request-id"]  # the log is written in batches
    eventually(lambda: any(entry["request_id"] == marker for entry in requests()), "the log to be written")
    return [entry["status"] for entry in requests() if entry["path"] == "/api/atr-rules/live"]


def key_file(folder: Path, key: str) -> Path:
    """A file that holds a key, for its owner only."""
    path = folder / "upstream.key"
    path.touch(0o600)
    path.write_text(key + "\n")
    return path


def _get(server: Server, path: str) -> Any:
    with server.admin as admin:
        answer: httpx.Response = admin.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]
