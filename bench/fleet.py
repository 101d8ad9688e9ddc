"""A fleet against one instance on one machine, the load generator included: `python -m bench fleet`.

The mix is that of `bench.fleet_mix`, the clock that of `bench.open_loop`. Everything of the server is as shipped:
rate limits, access log, audit log, scheduled jobs. `SHORT` is what `make bench` runs: the same fleet and rates for a
minute, so that a fifth of the agents come by.
"""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench.enrol import Enrolled, enrol, fill_lists
from bench.fleet_mix import Mix
from bench.instance import cpu_seconds, resident_megabytes
from bench.open_loop import Outcome, run
from tests.server import Server

TARGET_MS = 50.0


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is: agents that have a key, partners, and seconds."""

    agents: int
    partners: int
    seconds: float


WHOLE = Size(agents=100_000, partners=1_000, seconds=600)
SHORT = Size(agents=100_000, partners=1_000, seconds=60)


@dataclass(frozen=True, slots=True)
class FleetRun:
    """What one run measured: CPU in cores (`others`: whatever else ran on the machine), memory in MB.

    `promoted` are the rules that the fleet proposed and that were published meanwhile; `lost` are answered reports of
    threats that the database does not have.
    """

    size: Size
    outcome: Outcome
    enrol_seconds: float
    server_cores: float
    generator_cores: float
    other_cores: float
    load_average: tuple[float, float]
    memory: tuple[float, float]
    promoted: int
    lost: int

    @property
    def failed(self) -> int:
        """Requests without a good answer."""
        return sum(self.outcome.errors.values())


def measure(folder: Path, rules: Path, size: Size) -> FleetRun:
    """Make an instance with rules, lists and keys, start it, and let the fleet come."""
    server = Server(folder).start()
    server.cli("rule", "import", str(rules))
    server.stop()
    fill_lists(server)
    begin = perf_counter()
    agents, partners = enrol(server, "agent", size.agents), enrol(server, "partner", size.partners)
    enrolled = perf_counter() - begin
    server.start()
    try:
        return _run(server, agents, partners, size, enrolled)
    finally:
        server.stop()


def _run(
    server: Server, agents: list[Enrolled], partners: list[Enrolled], size: Size, enrolled: float
) -> FleetRun:
    assert server.process is not None
    pid = server.process.pid
    memory, load = resident_megabytes(pid), os.getloadavg()[0]
    used, busy, begin = cpu_seconds(pid), _busy_seconds(), perf_counter()
    outcome = run(Mix(agents, partners, server.port).visits(size.seconds), server.port)
    seconds = perf_counter() - begin
    used, busy = cpu_seconds(pid) - used, _busy_seconds() - busy
    threats, promoted = _kept(server)
    sent = 5 * outcome.count("POST threats, plain") + outcome.count("POST agents/events")
    return FleetRun(
        size=size,
        outcome=outcome,
        enrol_seconds=enrolled,
        server_cores=used / seconds,
        generator_cores=outcome.cpu_seconds / seconds,
        other_cores=max(0.0, (busy - used - outcome.cpu_seconds) / seconds),
        load_average=(load, os.getloadavg()[0]),
        memory=(memory, resident_megabytes(pid)),
        promoted=promoted,
        lost=sent - threats,
    )


def _kept(server: Server) -> tuple[int, int]:
    """How many threats and how many promoted proposals the database has."""
    connection = sqlite3.connect(server.state_dir / "threatcloud.db")
    try:
        (threats,) = connection.execute("SELECT count(*) FROM threat").fetchone()
        (promoted,) = connection.execute(
            "SELECT count(*) FROM proposal WHERE pattern_hash LIKE 'fleet-%' AND status = 'promoted'"
        ).fetchone()
    finally:
        connection.close()
    return threats, promoted


def _busy_seconds() -> float:
    """CPU seconds that the whole machine has spent on anything."""
    line = Path("/proc/stat").read_text().splitlines()[0]
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def summary(run: FleetRun) -> str:
    """The row of the table."""
    outcome = run.outcome
    return f"p99 {outcome.percentile(0.99):.1f} ms, {run.failed} errors of {outcome.count() + run.failed:,} requests"


def report(run: FleetRun) -> list[str]:
    """A section of the results."""
    outcome, size = run.outcome, run.size
    seconds = outcome.seconds
    lines = [
        f"{size.agents:,} agents, each with its own key and address, a cycle every five minutes each, with their"
        f" uploads, and {size.partners:,} partners,",
        f"for {size.seconds:.0f} s on two cores, load generator included (mix: `bench/fleet_mix.py`). Target: no"
        f" error, p99 under {TARGET_MS:.0f} ms.",
        "",
        f"- {outcome.count():,} requests ({outcome.count() / seconds:,.0f} a second) on {outcome.connections:,}"
        f" connections ({outcome.connections / seconds:,.0f} a second), {outcome.received / seconds / 1e6:,.0f} MB/s;"
        f" **{run.failed} errors**",
        f"- all requests: p50 {outcome.percentile(0.5):.1f} ms, **p99 {outcome.percentile(0.99):.1f} ms**,"
        f" p99.9 {outcome.percentile(0.999):.1f} ms, maximum {outcome.percentile(1):.0f} ms",
        f"- CPU: server {run.server_cores:.2f} cores ({run.server_cores * seconds / outcome.count() * 1e6:.0f} us a"
        f" request), generator {run.generator_cores:.2f} cores, other processes of the machine {run.other_cores:.2f}"
        f" cores; load average {run.load_average[0]:.1f} before, {run.load_average[1]:.1f} after",
        f"- memory of the server (shared pages once): {run.memory[0]:.0f} MB before, {run.memory[1]:.0f} MB after",
        f"- {run.promoted} rules that the fleet proposed were promoted and published meanwhile; {run.lost} answered"
        f" threat reports were lost; the keys took {run.enrol_seconds:.0f} s to issue",
        "",
        "| request | number | p50 ms | p99 ms | max ms |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for kind in sorted(outcome.latencies):
        p50, p99, most = (outcome.percentile(share, kind) for share in (0.5, 0.99, 1))
        lines.append(f"| {kind} | {outcome.count(kind):,} | {p50:.1f} | {p99:.1f} | {most:.0f} |")
    lines += [f"| failed: {what} | {number:,} | | | |" for what, number in outcome.errors.most_common()]
    return lines
