"""The routes of upstreams, on a running instance: a folder under the policy `review`, and one that is silent."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.access.principal import Role
from app.federation.routes import compare
from app.sandbox import Sandbox
from tests.example_rules import rule_text
from tests.federation.harness import IDS, Folder
from tests.server import Server
from tests.web.answers import accepted, eventually, refused

CONFIG = """
[[upstream]]
name = "atr"
kind = "directory"
path = "{folder}"
policy = "review"

[[upstream]]
name = "silent"
kind = "live"
url = "http://127.0.0.1:{port}"

[[upstream]]
name = "bundles"
kind = "bundle"
key_file = "/etc/keys.pem"
"""
ROUTE = "/api/admin/upstreams"


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of something that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    offered = Folder(tmp_path / "rules")
    offered.offer(IDS[:3])
    offered.write("broken", "title: [", name="broken.yaml")
    return offered


@pytest.fixture
def server(tmp_path: Path, folder: Folder, silent: int) -> Iterator[Server]:
    config = CONFIG.format(folder=folder.path, port=silent)
    with Server(tmp_path / "instance", config=config) as running:
        yield running


@pytest.fixture
def admin(server: Server) -> Iterator[httpx.Client]:
    with server.admin as client:
        yield client


def pulled(admin: httpx.Client, name: str = "atr") -> dict[str, Any]:
    """The result of the pull that runs or ran last."""

    def over() -> dict[str, Any] | None:
        pull: dict[str, Any] = accepted(admin.get(f"{ROUTE}/{name}/pull"))["pull"] or {}
        return pull.get("result")

    return eventually(over, 30) or {}


def served(admin: httpx.Client) -> list[str]:
    serial = accepted(admin.get("/api/publications/current"))["serial"]
    return [rule["ruleId"] for rule in accepted(admin.get(f"/api/publications/{serial}"))["rules"]]


def test_a_silent_upstream_does_not_keep_a_fresh_instance_from_getting_ready(
    tmp_path: Path, silent: int
) -> None:
    config = f'[[upstream]]\nname = "silent"\nkind = "live"\nurl = "http://127.0.0.1:{silent}"\n'
    started = time.monotonic()
    with Server(tmp_path / "instance", config=config) as server, server.admin as admin:
        assert time.monotonic() - started < 20
        assert served(admin) == []
        (status,) = accepted(admin.get(ROUTE))
        assert status["state"] == "never"
        pull = accepted(admin.get(f"{ROUTE}/silent/pull"))["pull"]
        assert (pull["state"], pull["result"]) == ("collecting", None)


def test_the_whole_way_of_a_held_change(admin: httpx.Client, folder: Folder) -> None:
    assert pulled(admin)["outcome"] == "held"
    status = accepted(admin.get(f"{ROUTE}/atr"))
    assert (status["state"], status["rules"], status["held"], status["setAside"]) == ("ok", 0, 3, 1)
    assert [one["name"] for one in accepted(admin.get(ROUTE))] == ["atr", "silent", "bundles"]
    (aside,) = accepted(admin.get(f"{ROUTE}/atr/set-aside"))
    assert aside["ruleId"] == "broken.yaml"
    (version,) = accepted(admin.get(f"{ROUTE}/atr/versions"))
    assert (version["total"], version["inUse"]) == (3, True)

    listed = admin.get(f"{ROUTE}/atr/held", params={"limit": "2"}).json()
    assert [change["ruleId"] for change in listed["data"]] == IDS[:2]
    assert listed["meta"]["total"] == 3
    rest = admin.get(f"{ROUTE}/atr/held", params={"cursor": listed["meta"]["next"]}).json()
    assert [change["ruleId"] for change in rest["data"]] == [IDS[2]]
    change = accepted(admin.get(f"{ROUTE}/atr/held/{IDS[0]}"))
    assert (change["change"], change["before"], change["after"]) == ("added", None, rule_text(IDS[0]))
    assert {"path": "severity", "before": None, "after": "high"} in change["fields"]

    wrong = {"digest": "0" * 64}
    assert refused(admin.post(f"{ROUTE}/atr/approve", json=wrong), 409)["detail"] == {
        "digest": listed["meta"]["digest"]
    }
    right = {"digest": listed["meta"]["digest"], "rules": IDS[:1], "reason": "looked at"}
    answer = accepted(admin.post(f"{ROUTE}/atr/approve", json=right))
    assert answer["approved"] == IDS[:1]
    assert answer["published"] > 1
    assert served(admin) == IDS[:1]
    assert accepted(admin.post(f"{ROUTE}/atr/refuse", json={"reason": "no", "rules": [IDS[1]]})) == {
        "refused": [IDS[1]],
        "published": None,
    }
    (decided,) = accepted(admin.get(f"{ROUTE}/atr/held", params={"state": "refused"}))
    assert (decided["ruleId"], decided["note"]) == (IDS[1], "no")
    (held,) = accepted(admin.get("/api/admin/rules", params={"origin": "upstream:atr"}))
    assert (held["source"], held["upstreamVersion"]) == ("atr", version["label"])

    folder.write(IDS[0], rule_text(IDS[0], severity="low"))
    pull = accepted(admin.post(f"{ROUTE}/atr/sync"), 202)["pull"]
    assert pull["result"] is None or pull["state"] in {"done", "failed"}
    assert pulled(admin)["held"] == 2
    change = accepted(admin.get(f"{ROUTE}/atr/held/{IDS[0]}"))
    assert change["fields"] == [{"path": "severity", "before": "high", "after": "low"}]


def test_a_rollback_holds_pulls_and_a_release_lets_them_go_on(admin: httpx.Client) -> None:
    pulled(admin)
    accepted(admin.post("/api/publications/1/rollback", json={"reason": "bad day"}))
    assert "bad day" in refused(admin.post(f"{ROUTE}/atr/sync"), 409)["error"]
    assert "bad day" in accepted(admin.get(f"{ROUTE}/atr"))["paused"]
    answer = accepted(admin.post(f"{ROUTE}/atr/approve", json={}))
    assert answer == {"approved": IDS[:3], "published": None}
    assert served(admin) == []
    accepted(admin.post("/api/publications/release"))
    assert served(admin) == IDS[:3]
    assert accepted(admin.get(f"{ROUTE}/atr"))["paused"] is None
    accepted(admin.post(f"{ROUTE}/atr/sync"), 202)


def test_pulls_come_by_themselves_and_go_on_after_a_rollback(tmp_path: Path) -> None:
    """Waits for the shortest interval that there is."""
    folder = Folder(tmp_path / "rules")
    folder.offer(IDS[:1])
    config = f'[[upstream]]\nname = "atr"\nkind = "directory"\npath = "{folder.path}"\ninterval = 10\n'
    with Server(tmp_path / "instance", config=config) as server, server.admin as admin:
        assert served(admin) == IDS[:1]
        accepted(admin.post("/api/publications/1/rollback", json={"reason": "bad day"}))
        folder.write(IDS[1])
        accepted(admin.post("/api/publications/release"))
        assert served(admin) == IDS[:1]
        assert eventually(lambda: served(admin) == IDS[:2], 30)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/other", None, 404),
        ("GET", "/other/held", None, 404),
        ("GET", "/other/pull", None, 404),
        ("POST", "/other/sync", None, 404),
        ("POST", "/bundles/sync", None, 409),
        ("GET", f"/atr/held/{IDS[9]}", None, 404),
        ("POST", "/atr/approve", {"rules": [IDS[9]]}, 404),
        ("POST", "/atr/refuse", {"rules": [IDS[0]]}, 400),
        ("POST", "/atr/refuse", {"reason": "no", "rules": []}, 400),
        ("GET", "/atr/held?state=lost", None, 400),
        ("GET", "/atr/versions?cursor=WyJ4Il0", None, 400),
        ("GET", "/atr/set-aside?cursor=WyJ4Il0", None, 400),
    ],
)
def test_what_is_refused(
    shared: httpx.Client, method: str, path: str, body: dict[str, Any] | None, status: int
) -> None:
    refused(shared.request(method, f"{ROUTE}{path}", json=body), status)


@pytest.mark.parametrize("path", ["/atr", "/atr/set-aside", "/atr/versions", "/atr/held", "/atr/pull"])
def test_reviewers_look_and_do_not_touch(shared_server: Server, path: str) -> None:
    with shared_server.client(shared_server.issue(Role.REVIEWER)) as reviewer:
        accepted(reviewer.get(f"{ROUTE}{path}"))
        refused(reviewer.post(f"{ROUTE}/atr/sync"), 403)


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For requests that change nothing."""
    place = tmp_path_factory.mktemp("shared")
    Folder(place / "rules").offer(IDS[:3])
    config = CONFIG.format(folder=place / "rules", port=9)
    with Server(place / "instance", config=config) as running:
        yield running


@pytest.fixture
def shared(shared_server: Server) -> Iterator[httpx.Client]:
    with shared_server.admin as client:
        yield client


@pytest.mark.anyio
async def test_a_change_that_cannot_be_compared_in_time_can_still_be_decided_on() -> None:
    sandbox = Sandbox(0.0)
    try:
        (field,) = await compare(sandbox, rule_text(), rule_text(title="Another"))
    finally:
        await sandbox.close()
    assert field.after is not None
    assert "cannot be compared field by field: it did not end within 0 s" in field.after
