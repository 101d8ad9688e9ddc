"""The instance under load, and what is in it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.server import Server, free_port

GENEROUS: dict[str, Any] = {
    "limits_agent_per_minute": 1_000_000,
    "limits_partner_per_minute": 1_000_000,
    "limits_live_burst": 10_000,
    "limits_live_refill_seconds": 1,
    "consensus_cycle_seconds": 86_400,
}
"""Rate limits out of the way: the load comes from few keys. Everything else is as shipped."""


def open_instance(folder: Path, rules: Path) -> Server:
    """Start an instance and import the published rules."""
    server = Server(folder, **GENEROUS).start()
    server.cli("rule", "import", str(rules))
    return server


@contextmanager
def bare_server(folder: Path) -> Iterator[str]:
    """The baseline's server; yields its URL."""
    folder.mkdir()
    port = free_port()
    environ = {**os.environ, "THREATCLOUD_PORT": str(port), "THREATCLOUD_STATE_DIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bare"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}/304"
    try:
        for _ in range(200):
            try:
                if httpx.get(url).status_code == 304:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def resident_megabytes(pid: int) -> float:
    """Proportional set size of a process and all below it: shared pages counted once."""
    total = 0
    for process in _family(pid):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def resident_sum_megabytes(pid: int) -> float:
    """Sum of the resident sets of a process and all below it: shared pages counted each time."""
    total = 0
    for process in _family(pid):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total / 1024


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and all below it, those that have ended included."""
    ticks = 0
    for process in _family(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]
