"""The scenarios of the table, each measured several times; figures are medians."""

import json
import secrets
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from app.http.timestamps import to_text
from bench.instance import bare_server
from bench.load import Figures, new_proposals, rotating_keys, run_wrk
from tests.example_rules import proposal, rule_text
from tests.server import Server

RUNS = 3
SECONDS = 5
CONNECTIONS = 32


class Rate:
    """The median run of several."""

    def __init__(self, runs: list[Figures]) -> None:
        self.runs = sorted(runs, key=lambda run: run.rate)
        self.median = self.runs[len(runs) // 2]
        self.rate = self.median.rate
        self.failed = sum(run.failed + run.refused for run in runs)


def repeat(measure: Callable[[], Figures]) -> Rate:
    """Warm up once, then measure `RUNS` times."""
    measure()
    return Rate([measure() for _ in range(RUNS)])


def interleaved(first: Callable[[], Figures], second: Callable[[], Figures]) -> tuple[Rate, Rate]:
    """Measure two things in turn, so that what else the machine does hits both."""
    first(), second()
    pairs = [(first(), second()) for _ in range(RUNS)]
    return Rate([a for a, _ in pairs]), Rate([b for _, b in pairs])


def unchanged(server: Server, folder: Path) -> tuple[Rate, Rate]:
    """live with nothing new (304), beside a bare Litestar 304."""
    token = server.issue("partner")
    with server.client(token) as partner:
        etag = partner.head("/api/atr-rules/live").headers["etag"]
    script = rotating_keys([token], {"If-None-Match": etag})
    with bare_server(folder) as bare_url:
        return interleaved(
            lambda: run_wrk(
                f"{server.url}/api/atr-rules/live", seconds=SECONDS, connections=CONNECTIONS, script=script
            ),
            lambda: run_wrk(bare_url, seconds=SECONDS, connections=CONNECTIONS),
        )


def full_pulls(server: Server, path: str, role: str, encoding: str) -> Rate:
    """The whole set, audited where the route does that, gzip accepted or not."""
    tokens = [server.issue(role) for _ in range(20)]
    script = rotating_keys(tokens, {"Accept-Encoding": encoding})
    return repeat(
        lambda: run_wrk(f"{server.url}{path}", seconds=SECONDS, connections=CONNECTIONS, script=script)
    )


def proposals(server: Server) -> Rate:
    """Different proposals, each answered after its fsync."""
    tokens = [server.issue("agent") for _ in range(CONNECTIONS)]
    text = rule_text(title="MARK asks for the signing key", pattern="send the MARK key").replace(
        "registry signing", "MARK"
    )
    return repeat(
        lambda: run_wrk(
            f"{server.url}/api/atr-proposals",
            seconds=SECONDS,
            connections=CONNECTIONS,
            script=new_proposals(tokens, secrets.token_hex(4), text),
        )
    )


def promotion(folder: Path, pending: int, ready: int) -> list[float]:
    """Seconds of the scheduled cycle with many pending proposals and a few ready ones, several times."""
    server = Server(folder, consensus_cycle_seconds=86_400, limits_agent_per_minute=1_000_000).start()
    server.stop()
    _fill_with_pending(server.state_dir / "threatcloud.db", pending)
    server.start()
    try:
        promote(server, ready)
        return [promote(server, ready)[0] for _ in range(RUNS)]
    finally:
        server.stop()


def promote(server: Server, ready: int) -> tuple[float, float]:
    """Confirm that many new patterns and run the cycle: its own seconds, and those until the set was served."""
    agents = [server.agent() for _ in range(3)]
    for _ in range(ready):
        mark = secrets.token_hex(8)
        text = rule_text(f"ATR-BENCH-{mark}", pattern=f"send (me )?the registry signing key|{mark}")
        for agent in agents:
            assert agent.post("/api/atr-proposals", json=proposal(mark, text)).is_success
    with server.admin as admin:
        before = time.perf_counter()
        report = admin.post("/api/admin/promote").json()["data"]
        seconds = time.perf_counter() - before
    assert len(report["promoted"]) == ready, report
    return report["seconds"], seconds


def _fill_with_pending(database: Path, count: int) -> None:
    connection = sqlite3.connect(database)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    at = [to_text(start + timedelta(seconds=n)) for n in range(count)]
    with connection:
        connection.executemany(
            "INSERT INTO proposal (pattern_hash, status, confirmations, first_seen, changed_at)"
            " VALUES (?, 'pending', 1, ?, ?)",
            [(f"pending-{n}", at[n], at[n]) for n in range(count)],
        )
    connection.close()


def first_pull(folder: Path) -> tuple[float, float, Figures]:
    """Seconds to pull 833 packaged rules into an empty instance and to see nothing new at the next start,
    and how the server answered 304s while it pulled."""
    config = '[[upstream]]\nname = "atr"\nkind = "package"\npackage = "pyatr"\n'
    server = Server(folder, config=config, limits_partner_per_minute=1_000_000)
    figures: list[Figures] = []

    def poll() -> None:
        figures.append(run_wrk(f"{server.url}/health", seconds=3, connections=8))

    server.start(wait=False)
    while not _answers(server):
        time.sleep(0.005)
    poller = threading.Thread(target=poll)
    poller.start()
    server.wait_until_ready()
    poller.join()
    server.stop()
    server.start()
    (first, second) = _pulls(server)
    server.stop()
    return first, second, figures[0]


def _answers(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/health").is_success
    except httpx.TransportError:
        return False


def _pulls(server: Server) -> list[float]:
    """Seconds from the start of each of two workers to the end of its pull, by the server's own log."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        seconds, started = list[float](), 0.0
        for line in server.log.read_text().splitlines():
            entry = json.loads(line) if line.startswith("{") else {}
            if str(entry.get("event", "")).startswith("ASGI server listening on http"):
                started = datetime.fromisoformat(entry["at"]).timestamp()
            if entry.get("event") == "pulled":
                seconds.append(datetime.fromisoformat(entry["at"]).timestamp() - started)
        if len(seconds) == 2:
            return seconds
        time.sleep(0.1)
    raise AssertionError("the second pull did not end")


def start_to_ready(server: Server) -> list[float]:
    """Seconds from the command to 200 on /ready, with everything in the database."""
    seconds = []
    for _ in range(RUNS):
        server.stop()
        before = time.perf_counter()
        server.start()
        seconds.append(time.perf_counter() - before)
    return seconds


def median(values: list[float]) -> float:
    """The middle value."""
    return statistics.median(values)
