"""What agents, partners and reviewers do over HTTP, in one line each."""

import contextlib
import itertools
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.example_rules import proposal, rule_text
from tests.server import Server

UPSTREAM = '[[upstream]]\nname = "atr"\nkind = "package"\npackage = "pyatr"\n'
OFFICIAL_ID = "ATR-2026-00001"
"""One of the 833 rules that pyatr bundles."""

_numbers = itertools.count(90_100)


def new_hash() -> str:
    """A pattern hash that nobody has sent yet."""
    return secrets.token_hex(32)


def new_id() -> str:
    """A rule id that no rule has yet."""
    return f"ATR-2026-{next(_numbers)}"


def rule(**different: str) -> str:
    """A rule text with an id of its own, unless one is given."""
    return rule_text(different.pop("rule_id", new_id()), **different)


def propose(agent: httpx.Client, pattern_hash: str, text: str, **headers: str) -> dict[str, Any]:
    """Send a proposal as a Guard does; returns `data`."""
    answer = agent.post("/api/atr-proposals", json=proposal(pattern_hash, text), headers=headers)
    assert answer.status_code in {200, 201}, answer.text
    return dict(answer.json()["data"])


def confirmed_by(server: Server, pattern_hash: str, texts: Iterable[str]) -> dict[str, Any]:
    """One newly enrolled agent for each text; returns what the last one was told."""
    told: dict[str, Any] = {}
    for text in texts:
        with server.agent() as agent:
            told = propose(agent, pattern_hash, text)
    return told


def promoted(server: Server, text: str | None = None) -> tuple[str, str]:
    """Three new agents confirm a text, and a cycle runs; returns its pattern hash and rule id."""
    pattern_hash = new_hash()
    told = confirmed_by(server, pattern_hash, [text or rule()] * 3)
    assert told["status"] == "confirmed", told
    assert pattern_hash in cycle(server)["promoted"]
    return pattern_hash, shown(server, pattern_hash)["ruleId"]


def cycle(server: Server) -> dict[str, Any]:
    """Run a promotion cycle over HTTP; returns its report."""
    with server.admin as admin:
        answer = admin.post("/api/admin/promote")
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["data"])


def vote_against(server: Server, rule_id: str) -> dict[str, Any]:
    """A new agent reports a false positive; returns `data`."""
    with server.agent() as agent:
        answer = agent.post("/api/atr-feedback", json={"ruleId": rule_id, "isTruePositive": False})
    assert answer.status_code == 201, answer.text
    return dict(answer.json()["data"])


def shown(server: Server, pattern_hash: str) -> dict[str, Any]:
    """The proposal as an admin sees it."""
    with server.admin as admin:
        answer = admin.get(f"/api/atr-proposals/{pattern_hash}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["data"])


def poll(client: httpx.Client, path: str = "/api/atr-rules", **headers: str) -> httpx.Response:
    """One poll; fails unless it is answered 200 or 304."""
    answer = client.get(path, headers=headers)
    assert answer.status_code in {200, 304}, answer.text
    return answer


def guard_rules(server: Server) -> dict[str, dict[str, Any]]:
    """What a new agent is served, by rule id."""
    with server.agent() as agent:
        return by_id(poll(agent))


def live_rules(server: Server) -> dict[str, dict[str, Any]]:
    """What a new partner is served, by rule id."""
    with server.client(server.issue("partner")) as partner:
        return by_id(poll(partner, "/api/atr-rules/live"))


def by_id(answer: httpx.Response) -> dict[str, dict[str, Any]]:
    """The rules in a body, none of them twice."""
    listed = answer.json()["data"]
    rules = {item["ruleId"]: item for item in listed}
    assert len(rules) == len(listed)
    return rules


@contextlib.contextmanager
def instance(folder: Path, **options: Any) -> Iterator[Server]:
    """A running instance that is killed in the end, since a graceful stop takes a second."""
    server = Server(folder, **options)
    try:
        yield server.start()
    finally:
        server.kill()


def eventually(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Wait for something that a running server does in its own time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def has_rules(admin: httpx.Client) -> bool:
    """Is any rule in service yet?"""
    answer = admin.get("/api/publications/current")
    return answer.status_code == 200 and answer.json()["data"]["total"] > 0
