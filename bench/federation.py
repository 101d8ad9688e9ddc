"""Pulling the official package from a stand-in registry on loopback; alone: `python -m bench.federation`."""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.load import Figures, rotating_keys, run_wrk
from tests.example_rules import rule_text
from tests.federation.real.registry import Registry
from tests.published import COUNT
from tests.server import Server

Row = tuple[str, str, str, str]
POLLERS = 8
POLLED_SECONDS = 7
"""About as long as the pull takes beside a load that wants both cores."""


def rows(folder: Path) -> Iterator[Row]:
    """The rows of the table."""
    alone, again, requests = _pull_twice(folder / "alone")
    yield "pull of 785 rules from an npm registry, all new", "5 s", f"{alone:.2f} s", "nobody polls meanwhile"
    seconds, polls = _pull_under_load(folder / "polled")
    yield (
        "live, nothing changed, during that pull",
        "p99 20 ms",
        f"p99 {polls.p99_ms:.1f} ms",
        f"of {polls.rate:,.0f} req/s over {POLLED_SECONDS} s, no answer above {polls.max_ms:.0f} ms; under that load"
        f" the pull takes {seconds:.2f} s",
    )
    yield "pull, nothing new in the registry", "-", f"{again * 1000:.0f} ms", f"{requests} request"


def _pull_twice(folder: Path) -> tuple[float, float, int]:
    """Seconds of the first pull and of one with nothing new, and how many requests that one made."""
    with _instance(folder) as (server, registry):
        first = _pull(server)
        assert first["added"] == COUNT, first
        before = len(registry.asked)
        again = _pull(server)
        assert again["outcome"] == "unchanged", again
        return first["seconds"], again["seconds"], len(registry.asked) - before


def _pull_under_load(folder: Path) -> tuple[float, Figures]:
    """Seconds of the first pull while partners poll as fast as they can, and how they were answered."""
    with _instance(folder) as (server, _):
        script = rotating_keys([server.issue("partner")], {"If-None-Match": "*"})
        url = f"{server.url}/api/atr-rules/live"
        with ThreadPoolExecutor(1) as poller:
            polls = poller.submit(run_wrk, url, seconds=POLLED_SECONDS, connections=POLLERS, script=script)
            result = _pull(server)
            assert result["added"] == COUNT, result
            return result["seconds"], polls.result()


@contextmanager
def _instance(folder: Path) -> Iterator[tuple[Server, Registry]]:
    """An instance with one rule of its own, and its registry, which answers now and did not at the start."""
    registry = Registry()
    config = f'[[upstream]]\nname = "npm"\nkind = "npm"\nurl = "{registry.url}"\ninterval = 86400\n'
    registry.is_open = False
    with registry:
        server = Server(folder, config=config, limits_partner_per_minute=1_000_000, limits_live_burst=10_000)
        server.start()
        try:
            (folder / "own.yaml").write_text(rule_text())
            server.cli("rule", "import", str(folder / "own.yaml"))
            while not registry.asked:
                time.sleep(0.01)
            registry.is_open = True
            yield server, registry
        finally:
            server.stop()


def _pull(server: Server) -> dict[str, Any]:
    """Pull now; returns what came of it."""
    with server.admin as admin:
        started = admin.post("/api/admin/upstreams/npm/sync").json()["data"]["pull"]
        while True:
            pull = admin.get("/api/admin/upstreams/npm/pull").json()["data"]["pull"]
            if pull["id"] == started["id"] and pull["result"] is not None:
                return dict(pull["result"])
            time.sleep(0.02)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="threatcloud-bench-") as name:
        for row in rows(Path(name)):
            print(" | ".join(row), flush=True)
