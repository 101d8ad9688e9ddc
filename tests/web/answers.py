"""What every answer promises, checked in one place; and what an instance holds, to compare before and after."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from tests.server import Server

JSON = "application/json; charset=utf-8"
T = TypeVar("T")


def refused(response: httpx.Response, status: int, field: str | None = None) -> dict[str, Any]:
    """The body of a refusal, after checking status, envelope, headers and, when given, the field it names."""
    assert response.status_code == status, f"{response.status_code}: {response.text[:500]}"
    assert response.headers["content-type"] == JSON
    assert response.headers["cache-control"] == "no-store"
    body: dict[str, Any] = response.json()
    assert body.keys() - {"detail"} == {"ok", "error", "request_id"}
    assert body["ok"] is False
    assert isinstance(body["error"], str) and 0 < len(body["error"]) < 5000
    assert body["request_id"] == response.headers["x-request-id"]
    if field is not None:
        assert body["detail"]["field"] == field, body
        assert field in body["error"], body
    return body


def accepted(response: httpx.Response, *statuses: int) -> Any:
    """`data` of a success."""
    assert response.status_code in (statuses or (200,)), f"{response.status_code}: {response.text[:500]}"
    assert response.headers["content-type"] == JSON
    body = response.json()
    assert body["ok"] is True
    assert body["request_id"] == response.headers["x-request-id"]
    return body["data"]


def holdings(server: Server) -> dict[str, Any]:
    """Everything that a request could have left behind."""
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    with httpx.Client(base_url=server.url, headers=headers, verify=False) as admin:
        accepted(admin.get("/ready"))
        return {
            path: accepted(admin.get(path))
            for path in (
                "/api/admin/audit/verify",
                "/api/atr-proposals?limit=500",
                "/api/atr-feedback",
                "/api/admin/keys?limit=500",
                "/api/admin/rules?limit=500",
                "/api/admin/signing-keys",
                "/api/publications/current",
            )
        }


@contextmanager
def nothing_kept(server: Server) -> Iterator[None]:
    """Whatever is sent inside leaves the instance as it was, and alive."""
    before = holdings(server)
    yield
    assert holdings(server) == before


def log_lines(server: Server) -> list[dict[str, Any]]:
    """The JSON lines of the server's log, but for one that is being written."""
    whole = server.log.read_text().split("\n")[:-1]
    return [json.loads(line) for line in whole if line.startswith("{")]


def defects(server: Server) -> list[dict[str, Any]]:
    """What the server itself thinks went wrong: lines of severity error, and answers of 500."""
    return [line for line in log_lines(server) if line.get("level") == "error" or line.get("status") == 500]


def eventually(look: Callable[[], T], seconds: float = 5) -> T:
    """What `look` finds as soon as it finds something: the server writes its log in batches."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
    return found
