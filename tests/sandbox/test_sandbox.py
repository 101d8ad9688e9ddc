"""Sandboxes: foreign work beside the server, bounded in time and memory."""

import asyncio

import pytest

from app.rules.inspect import InspectionResult, inspect_untrusted
from app.sandbox import Sandbox, SandboxError, SandboxTimeout
from tests.example_rules import rule_text
from tests.sandbox import work

pytestmark = pytest.mark.anyio


async def test_results_come_back_typed_and_to_their_callers() -> None:
    sandbox = Sandbox(10)
    texts = [rule_text(f"ATR-2026-{number:05}") for number in range(100)]
    looks = await asyncio.gather(*(sandbox.call(inspect_untrusted, text) for text in texts))
    assert all(isinstance(look, InspectionResult) and look.inspection for look in looks)
    ids = [look.inspection.facts.rule_id for look in looks if look.inspection and look.inspection.facts]
    assert ids == [f"ATR-2026-{number:05}" for number in range(100)]
    await sandbox.close()


async def test_what_takes_too_long_is_killed_and_its_neighbours_are_not() -> None:
    sandbox = Sandbox(1)
    assert await sandbox.call(work.echo, "warm") == "warm"
    results = await asyncio.gather(
        sandbox.call(work.echo, "a"),
        sandbox.call(work.spin, "forever"),
        sandbox.call(work.echo, "b"),
        return_exceptions=True,
    )
    assert results[0] == "a"
    assert isinstance(results[1], SandboxTimeout)
    assert results[2] == "b"
    await sandbox.close()


async def test_the_start_of_the_child_takes_nothing_off_the_deadline() -> None:
    from tests.sandbox import slow_work  # noqa: PLC0415 - it takes long

    sandbox = Sandbox(0.9)
    assert await sandbox.call(slow_work.echo, "a") == "a"
    await sandbox.close()


@pytest.mark.parametrize("function", [work.eat_memory, work.die, work.fail, work.unsendable])
async def test_what_breaks_is_an_error_and_the_next_call_works(function: work.Function) -> None:
    sandbox = Sandbox(10, memory_mib=400)
    results = await asyncio.gather(
        sandbox.call(work.echo, "before"),
        sandbox.call(function, "x"),
        sandbox.call(work.echo, "after"),
        return_exceptions=True,
    )
    assert results[0] == "before"
    assert isinstance(results[1], SandboxError)
    assert results[2] == "after"
    assert await sandbox.call(work.echo, "next") == "next"
    await sandbox.close()


async def test_closing_ends_the_child_and_fails_what_waits() -> None:
    sandbox = Sandbox(60)
    await sandbox.call(work.echo, "warm")
    waiting = asyncio.create_task(sandbox.call(work.spin, "forever"))
    await asyncio.sleep(0)
    await sandbox.close()
    with pytest.raises(SandboxError):
        await waiting
