"""Run every scenario and write `bench/results.md`; with `fleet`, ten minutes of a fleet alone, its last section."""

import platform
import sqlite3
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from app import __version__
from bench import federation, fleet, scenarios
from bench.instance import open_instance, resident_megabytes, resident_sum_megabytes
from bench.load import require_wrk
from bench.scenarios import Rate, median
from tests.published import published_rules_folder

RESULTS = Path(__file__).with_name("results.md")
FLEET = "\n## A fleet for ten minutes\n"
"""The heading of the section that `python -m bench fleet` writes, and everything else leaves as it is."""
Row = tuple[str, str, str, str]


def main() -> None:
    """Measure what the command line asks for."""
    if sys.argv[1:] == ["fleet"]:
        measure_fleet()
    elif sys.argv[1:]:
        raise SystemExit("usage: python -m bench [fleet]")
    else:
        measure_all()


def measure_fleet() -> None:
    """Ten minutes of a fleet; replaces its section of the results."""
    with tempfile.TemporaryDirectory(prefix="threatcloud-bench-") as name:
        run = fleet.measure(Path(name) / "fleet", published_rules_folder(), fleet.WHOLE)
    lines = [f"`python -m bench fleet` on {datetime.now(UTC):%Y-%m-%d}, release {__version__}.", ""]
    section = "\n".join([*lines, *fleet.report(run), ""])
    print(section, flush=True)
    RESULTS.write_text(RESULTS.read_text().partition(FLEET)[0] + FLEET + "\n" + section)


def measure_all() -> None:
    """Measure everything else; prints each row as it comes."""
    require_wrk()
    rows: list[Row] = []

    def add(what: str, target: str, found: str, remark: str = "") -> None:
        rows.append((what, target, found, remark))
        print(f"{what}: {found}  (target {target}) {remark}", flush=True)

    with tempfile.TemporaryDirectory(prefix="threatcloud-bench-") as name:
        folder = Path(name)
        server = open_instance(folder / "main", published_rules_folder())
        try:
            server.stop()
            server.start()
            assert server.process is not None
            pid = server.process.pid
            at_rest = resident_sum_megabytes(pid)
            live, bare = scenarios.unchanged(server, folder / "bare")
            add(
                "live, nothing changed (304)",
                "10,000 req/s, 60 % of bare",
                rate(live),
                f"p99 {live.median.p99_ms:.1f} ms; bare Litestar 304 in the same run {rate(bare)}: "
                f"{live.rate / bare.rate:.0%}",
            )
            for what, path, role in (
                ("live, full set of 785 rules", "/api/atr-rules/live", "partner"),
                ("atr-rules, full set", "/api/atr-rules", "agent"),
            ):
                found = scenarios.full_pulls(server, path, role, "gzip")
                add(f"{what}, gzip", "1,500 req/s", rate(found), pulled(found))
            found = scenarios.full_pulls(server, "/api/atr-rules", "agent", "identity")
            add("atr-rules, full set, not compressed", "-", rate(found), pulled(found))
            found = scenarios.proposals(server)
            add(
                "proposals, durable, 32 connections",
                "2,500 req/s",
                rate(found),
                f"p99 {found.median.p99_ms:.1f} ms",
            )
            add(
                "resident memory at 785 rules, all processes",
                "200 MB",
                f"{at_rest:.0f} MB",
                f"at rest; after the load above {resident_sum_megabytes(pid):.0f} MB "
                f"({resident_megabytes(pid):.0f} MB with shared pages counted once)",
            )
            served = median([scenarios.promote(server, 10)[1] for _ in range(scenarios.RUNS)])
            add(
                "10 promoted rules served, 785 in the set",
                "-",
                f"{served:.2f} s",
                "gate, publication, all representations",
            )
            ready = scenarios.start_to_ready(server)
            size = (server.state_dir / "threatcloud.db").stat().st_size / 2**20
            add("start to ready", "2 s", f"{median(ready):.2f} s", f"database of {size:.0f} MiB")
        finally:
            server.stop()
        few = scenarios.promotion(folder / "few", pending=1000, ready=10)
        many = scenarios.promotion(folder / "many", pending=100_000, ready=10)
        add(
            "promotion cycle, 100 k pending, 10 ready",
            "50 ms",
            f"{median(many) * 1000:.0f} ms",
            f"with 1 k pending {median(few) * 1000:.0f} ms; gate included, publication not",
        )
        first, again, meanwhile = scenarios.first_pull(folder / "pull")
        add(
            "pull of 833 packaged rules, all new",
            "5 s",
            f"{first:.2f} s",
            f"p99 meanwhile {meanwhile.p99_ms:.1f} ms",
        )
        add("pull, nothing changed", "-", f"{again:.2f} s", "reads and compares the whole package")
        for row in federation.rows(folder):
            add(*row)
        run = fleet.measure(folder / "fleet", published_rules_folder(), fleet.SHORT)
        add(
            f"one minute of a fleet of {run.size.agents:,} agents",
            f"p99 {fleet.TARGET_MS:.0f} ms, no error",
            fleet.summary(run),
            f"server {run.server_cores:.2f} cores, generator {run.generator_cores:.2f}",
        )
    _, heading, section = RESULTS.read_text().partition(FLEET)
    RESULTS.write_text(report(rows) + heading + section)


def rate(found: Rate) -> str:
    """Requests a second, and how many failed if any."""
    failed = f" ({found.failed} failed)" if found.failed else ""
    return f"{found.rate:,.0f} req/s{failed}"


def pulled(found: Rate) -> str:
    """What a pull weighs, and how long it took."""
    run = found.median
    return f"{run.megabytes_per_second:,.0f} MB/s, p99 {run.p99_ms:.0f} ms"


def report(rows: list[Row]) -> str:
    """The results as a Markdown page."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    lines = [
        "# Measured",
        "",
        f"`make bench` on {datetime.now(UTC):%Y-%m-%d}, release {__version__}. {cores} cores ({cpu}), load",
        f"generator included; Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},",
        f"Litestar {version('litestar')}, gunicorn {version('gunicorn')}, uvloop {version('uvloop')}.",
        "",
        f"Rates are medians of {scenarios.RUNS} runs of {scenarios.SECONDS} s after a warm-up, wrk with one thread",
        f"and {scenarios.CONNECTIONS} keep-alive connections. Rate limits are out of the way; keys are checked,",
        "full live pulls are written to the audit log, and requests are logged, as shipped.",
        "",
        "| what | target | measured | remark |",
        "| --- | --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
    return "\n".join(lines)


main()
