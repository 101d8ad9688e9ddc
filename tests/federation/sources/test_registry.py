"""Sources as they run in service: in a sandbox's child, with everything carried over the pipe."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.federation.sources.collected import Collected, Memory
from app.federation.sources.inspection import inspect_items
from app.federation.sources.registry import collect
from app.federation.upstream import (
    AtrRulesUpstream,
    BundleUpstream,
    DirectoryUpstream,
    Filter,
    LiveUpstream,
    NpmUpstream,
    PackageUpstream,
    Upstream,
    settings_digest,
)
from app.sandbox import Sandbox, SandboxError
from tests.clock import NOW_TEXT
from tests.federation.hostile_entries import ALIAS_BOMB
from tests.federation.simulator import Simulator
from tests.federation.sources.conftest import IDS, code


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    opened = Sandbox(30)
    yield opened
    await opened.close()


@pytest.mark.anyio
async def test_every_kind_crosses_the_pipe_and_comes_back(
    sandbox: Sandbox, simulator: Simulator, spool: str, tmp_path: Path
) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "one.yaml").write_text(simulator.rules[IDS[0]])
    include, exclude = Filter(severity=("high",), id=("ATR-*",)), Filter(category=("x",))
    upstreams: list[tuple[Upstream, int]] = [
        (LiveUpstream(name="a", url=simulator.url, include=include, exclude=exclude), len(IDS)),
        (AtrRulesUpstream(name="b", url=simulator.url, policy="review"), len(IDS)),
        (NpmUpstream(name="c", url=simulator.url, interval=60), len(IDS)),
        (DirectoryUpstream(name="d", path=str(tmp_path / "rules")), 1),
        (PackageUpstream(name="e", package="pyatr"), 833),
    ]
    for upstream, count in upstreams:
        first = await sandbox.call(collect, upstream, Memory(), NOW_TEXT, spool)
        assert (first.outcome, len(first.items)) == ("changed", count)
        assert first.memory.settings == settings_digest(upstream)
        second = await sandbox.call(collect, upstream, first.memory, NOW_TEXT, spool)
        assert second.outcome == "unchanged"
    bundle = BundleUpstream(name="f", key_file="/nowhere/key.pem", path="/nowhere/bundle")
    assert (await sandbox.call(collect, bundle, Memory(), NOW_TEXT, spool)).outcome == "failed"


@pytest.mark.anyio
async def test_failures_are_answers_and_not_exceptions(
    sandbox: Sandbox, simulator: Simulator, spool: str
) -> None:
    upstream = LiveUpstream(name="up", url=simulator.url)
    simulator.fault = "too_many"
    failed = await sandbox.call(collect, upstream, Memory(), NOW_TEXT, spool)
    assert failed.failure is not None
    assert (failed.failure.code, failed.failure.retry_after, failed.requests) == ("too-fast", 120.0, 1)
    simulator.fault = "bomb"
    assert code(await sandbox.call(collect, upstream, Memory(), NOW_TEXT, spool)) == "too-large"
    gone = DirectoryUpstream(name="d", path="/nowhere/at/all")
    assert code(await sandbox.call(collect, gone, Memory(), NOW_TEXT, spool)) == "not-found"
    nowhere = "/proc/threatcloud/spool/up.pull"
    simulator.fault = None
    assert code(await sandbox.call(collect, upstream, Memory(), NOW_TEXT, nowhere)) in {
        "not-found",
        "unreadable",
    }


@pytest.mark.anyio
async def test_a_batch_of_texts_is_inspected(sandbox: Sandbox, simulator: Simulator, spool: str) -> None:
    simulator.rules["ATR-2026-66601"] = ALIAS_BOMB
    collected = await sandbox.call(
        collect, LiveUpstream(name="up", url=simulator.url), Memory(), NOW_TEXT, spool
    )
    spans = [(item.start, item.size) for item in collected.items]
    inspected = await sandbox.call(inspect_items, spool, spans, "published")
    assert [one.text for one in inspected[:-1]] == [simulator.rules[rule_id] for rule_id in IDS]
    assert [one.rule_id for one in inspected[:-1]] == IDS
    assert (inspected[-1].text, inspected[-1].inspection) == ("", None)
    assert "anchor" in inspected[-1].reason
    with pytest.raises(SandboxError):
        await sandbox.call(inspect_items, spool, [(10**9, 5)], "published")


@pytest.mark.anyio
async def test_a_server_that_trickles_the_head_of_its_answer_ends_with_the_sandbox(spool: str) -> None:
    """The one thing that no deadline of ours ends: a byte now and then, and never a whole header."""

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not reader.at_eof():
                writer.write(b"H")
                await asyncio.sleep(0.05)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    short = Sandbox(2)
    try:
        with pytest.raises(SandboxError, match="did not end"):
            await short.call(collect, LiveUpstream(name="up", url=url, timeout=1), Memory(), NOW_TEXT, spool)
    finally:
        await short.close()
        server.close()


def test_a_bundle_keeps_its_memory_whatever_is_configured(
    spool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an old one could be taken after any edit of its entry."""
    given: list[Memory] = []

    def read(upstream: Upstream, memory: Memory, now: str, spool: str) -> Collected:
        given.append(memory)
        return Collected("unchanged", memory=memory)

    monkeypatch.setattr("app.federation.sources.registry.read_upstream", read)
    bundle = BundleUpstream(name="b", key_file="/key.pem", path="/bundle")
    for upstream in (bundle, LiveUpstream(name="b", url="http://127.0.0.1:9")):
        collect(upstream, Memory(settings="of another configuration", serial=7), NOW_TEXT, spool)
    assert [memory.serial for memory in given] == [7, 0]


def test_the_process_that_asks_loads_no_http_client() -> None:
    program = "import sys, app.federation.pull; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
