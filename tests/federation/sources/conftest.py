"""A simulated upstream with a few rules, and a way to pull from it as a sandbox's child would."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from app.federation.sources.collected import Collected, Memory
from app.federation.sources.registry import collect
from app.federation.sources.spool import read_span
from app.federation.upstream import Upstream
from app.http.timestamps import to_text
from tests.clock import NOW
from tests.example_rules import rule_text
from tests.federation.simulator import Simulator

IDS = [f"ATR-2026-0000{number}" for number in range(1, 6)]

Pull = Callable[..., Collected]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(start=NOW) as running:
        running.rules = {rule_id: rule_text(rule_id) for rule_id in IDS}
        yield running


@pytest.fixture
def public() -> Iterator[Simulator]:
    """The public server: no freshness token, no ETag on the incremental endpoint."""
    with Simulator(start=NOW, is_ours=False) as running:
        running.rules = {rule_id: rule_text(rule_id) for rule_id in IDS}
        yield running


@pytest.fixture
def spool(tmp_path: Path) -> str:
    return str(tmp_path / "spool" / "test.pull")


@pytest.fixture
def pull(spool: str) -> Pull:
    """Collect as a sandbox would; the clock is the simulator's where there is one."""

    def once(upstream: Upstream, memory: Memory | None = None, now: datetime = NOW) -> Collected:
        return collect(upstream, memory or Memory(), to_text(now), spool)

    return once


def texts(collected: Collected, spool: str) -> dict[str, str]:
    """`name -> text` of what was collected."""
    return {item.name: read_span(spool, item.start, item.size).decode() for item in collected.items}


def code(collected: Collected) -> str | None:
    """Why it failed, if it did."""
    assert (collected.outcome == "failed") == (collected.failure is not None)
    return collected.failure.code if collected.failure else None
