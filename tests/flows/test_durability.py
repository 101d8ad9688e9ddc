"""What was acknowledged stays, whatever happens to the process or the disk; what is served stays the same."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx
import pytest

from tests.example_rules import proposal
from tests.flows.fleet import (
    UPSTREAM,
    by_id,
    confirmed_by,
    eventually,
    guard_rules,
    has_rules,
    instance,
    live_rules,
    new_hash,
    poll,
    promoted,
    propose,
    rule,
    shown,
)
from tests.needs import lacking, need_root
from tests.server import Server

ROUNDS = 20
DRAFT = '{"type":"skill-audit-finding","skillName":"x","needsLLMDraft":true}'
LIVE = "/api/atr-rules/live"


class Scanners:
    """Agents that all propose the same sequence of patterns as fast as they can, and note what was acknowledged."""

    def __init__(self, server: Server, tokens: list[str], prefix: str) -> None:
        self.acknowledged: Counter[str] = Counter()
        self._server = server
        self._prefix = prefix
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(token,)) for token in tokens]

    def __enter__(self) -> "Scanners":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, token: str) -> None:
        with self._server.client(token) as agent, contextlib.suppress(httpx.TransportError):
            number = 0
            while not self._stop.is_set():
                number += 1
                pattern_hash = f"{self._prefix}-{number}"
                answer = agent.post("/api/atr-proposals", json=proposal(pattern_hash, DRAFT))
                assert answer.status_code in {200, 201}, answer.text
                with self._lock:
                    self.acknowledged[pattern_hash] += 1


def kept_proposals(server: Server) -> dict[str, dict[str, Any]]:
    """Every proposal by its hash, read page by page."""
    kept: dict[str, dict[str, Any]] = {}
    params = {"limit": "500"}
    with server.admin as admin:
        while True:
            page = admin.get("/api/atr-proposals", params=params).json()
            kept |= {item["patternHash"]: item for item in page["data"]}
            if page["meta"]["next"] is None:
                return kept
            params["cursor"] = page["meta"]["next"]


def lost(acknowledged: Counter[str], kept: dict[str, dict[str, Any]]) -> dict[str, int]:
    """Acknowledged confirmations that are not there, by hash."""
    return {
        pattern_hash: number
        for pattern_hash, number in acknowledged.items()
        if pattern_hash not in kept or kept[pattern_hash]["confirmations"] < number
    }


def is_sound(server: Server) -> bool:
    """Database and audit chain, checked beside the running server."""
    doctor = json.loads(server.cli("doctor", "--json", check=False).stdout)
    findings = {finding["check"]: finding for finding in doctor}
    with server.admin as admin:
        audit = admin.get("/api/admin/audit/verify").json()["data"]
    return findings["integrity"]["state"] == "ok" and audit["broken_at"] is None


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Twenty times: agents propose, a promotion runs, and in the middle of it every process is killed."""
    chance = random.Random(20_261_121)
    server = Server(tmp_path, consensus_cycle_seconds=86_400, limits_agent_per_minute=1_000_000)
    acknowledged: Counter[str] = Counter()
    ready_hashes: list[str] = []
    server.start()
    try:
        tokens = [server.issue("agent") for _ in range(4)]
        partner_tokens = server.issue("admin")
        for number in range(ROUNDS):
            ready_hashes.append(f"ready-{number}")
            text = rule()
            for token in tokens[:3]:
                with server.client(token) as agent:
                    propose(agent, ready_hashes[-1], text)
            cycle = threading.Thread(target=_promote_until_killed, args=(server,))
            with Scanners(server, tokens, f"round-{number}") as scanners:
                time.sleep(chance.uniform(0, 0.15))
                cycle.start()
                time.sleep(chance.uniform(0, 0.35))
                server.kill()
            cycle.join()
            acknowledged += scanners.acknowledged

            server.start()
            kept = kept_proposals(server)
            assert lost(acknowledged, kept) == {}, f"round {number}"
            in_service = {kept[h]["ruleId"] for h in ready_hashes if kept[h]["status"] == "promoted"}
            with server.client(partner_tokens) as reader:
                assert by_id(poll(reader)).keys() == in_service, f"round {number}"
            if number % 4 == 3:
                assert is_sound(server), f"round {number}"
        assert sum(acknowledged.values()) > ROUNDS * len(tokens)

        server.cli("promotion", "run")
        assert {kept_proposals(server)[h]["status"] for h in ready_hashes} == {"promoted"}
        assert len(live_rules(server)) == ROUNDS
        assert server.stop() == 0
    finally:
        server.kill()


def _promote_until_killed(server: Server) -> None:
    with server.admin as admin, contextlib.suppress(httpx.TransportError):
        admin.post("/api/admin/promote")


def test_a_restart_changes_nothing_that_clients_see(tmp_path: Path) -> None:
    pytest.importorskip("pyatr")
    server = Server(tmp_path, config=UPSTREAM, consensus_cycle_seconds=86_400)
    server.start()
    try:
        eventually(lambda: has_pulled(server), "the first pull")
        with server.admin as admin:
            eventually(lambda: has_rules(admin), "the first publication")
        promoted(server)
        before = everything_served(server)
        assert server.stop() == 0
        server.start()
        eventually(lambda: has_pulled(server), "the pull after a clean restart")
        assert everything_served(server) == before
        server.kill()
        server.start()
        eventually(lambda: has_pulled(server), "the pull after a kill")
        assert everything_served(server) == before
    finally:
        server.kill()


def has_pulled(server: Server) -> bool:
    """Has a pull of the upstream ended since the start?"""
    with server.admin as admin:
        (name,) = (upstream["name"] for upstream in admin.get("/api/admin/upstreams").json()["data"])
        pull = admin.get(f"/api/admin/upstreams/{name}/pull").json()["data"]["pull"]
    return pull is not None and pull["result"] is not None


def everything_served(server: Server) -> dict[str, Any]:
    """Validators, data and meta of every representation, and the newest publication."""
    with server.client(server.issue("partner")) as partner, server.agent("the-same-agent") as agent:
        answers = {
            "live": poll(partner, LIVE),
            "yaml": poll(partner),
            "guard": poll(agent),
            "alias": poll(partner, "/api/rules"),
            "newest": agent.get("/api/publications/current"),
        }
    return {
        name: (
            answer.headers.get("etag"),
            answer.headers.get("last-modified"),
            {key: value for key, value in answer.json().items() if key != "request_id"},
        )
        for name, answer in answers.items()
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB."""
    need_root()
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m,mode=0700", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        lacking("the right to mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # a killed process may still be ending


def fill(disk: Path, leave: int) -> Path:
    """Write a file that leaves about so many bytes free; returns it."""
    filler = disk / "filler"
    room = os.statvfs(disk)
    with filler.open("ab") as file, contextlib.suppress(OSError):
        file.write(b"\0" * max(0, room.f_bavail * room.f_frsize - leave))
    return filler


def test_a_full_disk_refuses_writes_and_nothing_else(small_disk: Path) -> None:
    server = Server(small_disk / "instance", consensus_cycle_seconds=86_400)
    server.log = small_disk.parent / "server.log"
    server.start()
    try:
        _, rule_id = promoted(server)
        agent, partner, admin = server.agent(), server.client(server.issue("partner")), server.admin
        tag = partner.head(LIVE).headers["etag"]
        fill(small_disk, leave=0)

        kept, refusal = [], None
        for number in range(2000):
            body = proposal(f"large-{number}", '{"evidence":"' + "x" * 60_000 + '"}')
            answer = agent.post("/api/atr-proposals", json=body)
            if answer.status_code != 201:
                refusal = answer
                break
            kept.append(f"large-{number}")
        assert refusal is not None
        assert refusal.status_code == 503
        assert refusal.json()["ok"] is False
        assert refusal.json()["request_id"] == refusal.headers["x-request-id"]
        assert int(refusal.headers["retry-after"]) > 0

        assert agent.get("/health").status_code == 200
        assert rule_id in by_id(poll(agent))
        assert poll(partner, LIVE, **{"If-None-Match": tag}).status_code == 304
        assert set(kept) <= kept_proposals(server).keys()
        doctor = server.cli("doctor", "--json", check=False)
        assert doctor.returncode == 1
        assert "Free space now" in doctor.stdout

        (small_disk / "filler").unlink()
        eventually(lambda: agent.get("/ready").status_code == 200, "ready again")
        assert propose(agent, "after-that", DRAFT)["confirmations"] == 1
        everything = kept_proposals(server)
        assert {*kept, "after-that"} <= everything.keys()
        assert f"large-{len(kept)}" not in everything
        assert is_sound(server)
        for client in (agent, partner, admin):
            client.close()
    finally:
        server.kill()


@pytest.mark.parametrize("then", ["next cycle", "crash"])
def test_what_a_full_disk_kept_from_clients_is_published_later(small_disk: Path, then: str) -> None:
    """The votes fit, the publication does not: the quarantine must not be forgotten.

    After a crash not even the first answer may have the rule.
    """
    server = Server(small_disk / "instance", consensus_cycle_seconds=5)
    server.log = small_disk.parent / "server.log"
    server.start()
    try:
        large = small_disk.parent / "large"
        large.mkdir()
        for number in range(30):
            # Nothing that compresses: the publication is kept compressed.
            (large / f"{number}.yaml").write_text(rule(extra=f"notes: x{token_hex(30_000)}\n"))
        server.cli("rule", "import", str(large))
        pattern_hash, rule_id = promoted(server)
        server.stop()  # leaves an empty write-ahead log, which then needs space of its own
        server.start()
        voters, reader = [server.agent() for _ in range(3)], server.agent()
        fill(small_disk, leave=1_000_000)
        vote = {"ruleId": rule_id, "isTruePositive": False}
        told = [voter.post("/api/atr-feedback", json=vote) for voter in voters]
        assert [answer.status_code for answer in told] == [201, 201, 503]
        assert "done and kept" in told[2].json()["error"]
        assert shown(server, pattern_hash)["status"] == "quarantined"
        assert rule_id in by_id(poll(reader))

        if then == "crash":
            server.kill()
            (small_disk / "filler").unlink()
            server.start()
            assert rule_id not in guard_rules(server)
        else:
            (small_disk / "filler").unlink()
            eventually(lambda: rule_id not in by_id(poll(reader)), "publication by the next cycle")
    finally:
        server.kill()


def test_a_reload_fails_no_request_and_takes_the_new_options(tmp_path: Path) -> None:
    server = Server(tmp_path, config="[limits]\nagent_per_minute = 5000\n")
    with server:
        token = server.issue("agent")
        assert limit(server, token) == "5000"
        first_worker = holder(server)
        with Pollers(server, token) as pollers:
            server.config.write_text('[limits]\nagent_per_minute = 7000\n[log]\nlevel = "debug"\n')
            reload(server)
            eventually(lambda: limit(server, token) == "7000", "the new limit")
            pollers.go_on_for(50)
        assert pollers.failures == []
        assert holder(server) != first_worker
        assert '"level":"debug"' in server.log.read_text()

        for broken, mistake in (
            ('[limits]\nagent_per_minute = "many"\n', "limits.agent_per_minute: Expected `int`"),
            ("[limits\n", "not TOML"),
            ('[server]\nhost = "0.0.0.0"\n', "server.host: takes a restart"),
        ):
            server.config.write_text(broken)
            with Pollers(server, token) as pollers:
                reload(server)
                eventually(partial(says, server, mistake), "the refusal in the log")
                pollers.go_on_for(50)
            assert pollers.failures == []
            assert limit(server, token) == "7000"


class Pollers:
    """Two clients that poll without a pause; a request that fails may be tried once more."""

    def __init__(self, server: Server, token: str) -> None:
        self.failures: list[str] = []
        self.done = 0
        self._server = server
        self._token = token
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    def __enter__(self) -> "Pollers":
        for thread in self._threads:
            thread.start()
        self.go_on_for(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def go_on_for(self, requests: int) -> None:
        """Wait until so many more were answered."""
        target = self.done + requests
        eventually(lambda: self.done >= target or bool(self.failures), "answers to pollers")

    def _run(self) -> None:
        with self._server.client(self._token) as client:
            while not self._stop.is_set():
                for last in (False, True):
                    try:
                        answer = client.get("/api/publications/current")
                    except httpx.TransportError as error:
                        if last:
                            self.failures.append(repr(error))
                        continue
                    if answer.status_code != 200:
                        self.failures.append(f"{answer.status_code} {answer.text}")
                    break
                self.done += 1
                time.sleep(0.005)


def says(server: Server, text: str) -> bool:
    """Has the server logged this?"""
    return text in server.log.read_text()


def reload(server: Server) -> None:
    """Ask the main process to read its configuration again."""
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGHUP)


def limit(server: Server, token: str) -> str:
    """The rate limit that this key has now."""
    with server.client(token) as client:
        return client.get("/api/atr-rules").headers["x-ratelimit-limit"]


def holder(server: Server) -> str:
    """Who holds the lock."""
    findings = {finding["check"]: finding for finding in server.cli_json("doctor")}
    found: str = findings["lock"]["found"]
    return found


def request_head(token: str, length: int) -> bytes:
    """The head of a proposal whose body comes later."""
    return (
        f"POST /api/atr-proposals HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def test_sigterm_lets_running_requests_finish(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        assert server.process is not None
        token = server.issue("agent")
        body = httpx.Request("POST", server.url, json=proposal("slow", DRAFT)).content
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(request_head(token, len(body)) + body[:20])
            server.process.terminate()
            eventually(partial(says, server, "Handling signal: term"), "the signal")
            time.sleep(0.3)
            connection.sendall(body[20:])
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 201 "), answer
        assert server.process.wait(30) == 0
        server.start()
        assert "slow" in kept_proposals(server)
    finally:
        server.kill()


def test_a_reload_outlasts_a_request_that_never_ends(tmp_path: Path) -> None:
    """The old process gives up on it after the graceful time; the new one must not have given up on the lock."""
    with instance(tmp_path, server_graceful_seconds=1) as server:
        token, first_worker = server.issue("agent"), holder(server)
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(request_head(token, 100) + b"{")
            time.sleep(0.1)  # let the server begin with it
            reload(server)
            eventually(lambda: holder(server) not in {first_worker, FREE}, "the new process")
            server.wait_until_ready()
        assert server.process is not None
        assert server.process.poll() is None


FREE = "free: no server runs"


def test_a_changed_threshold_counts_for_what_waits_already(tmp_path: Path) -> None:
    server = Server(tmp_path, consensus_cycle_seconds=86_400)
    server.start()
    try:
        pattern_hash = new_hash()
        confirmed_by(server, pattern_hash, [rule()] * 2)
        assert server.stop() == 0
        server.environ["THREATCLOUD_CONSENSUS_THRESHOLD"] = "2"
        server.start()
        eventually(lambda: shown(server, pattern_hash)["status"] == "confirmed", "the new threshold")
        assert server.cli_json("promotion", "run")["promoted"] == [pattern_hash]
        assert shown(server, pattern_hash)["ruleId"] in guard_rules(server)
    finally:
        server.kill()
