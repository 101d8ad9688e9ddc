"""Lanes: foreign work beside the server, bounded in time and memory."""

import asyncio

import pytest

from app.offload import Lane, LaneError, LaneTimeout
from app.rules.look import Look, look_at
from tests.example_rules import rule_text
from tests.offload import work

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_results_come_back_typed_and_to_their_callers() -> None:
    lane = Lane(10)
    texts = [rule_text(f"ATR-2026-{number:05}") for number in range(100)]
    looks = await asyncio.gather(*(lane.call(look_at, text) for text in texts))
    assert all(isinstance(look, Look) and look.inspection for look in looks)
    ids = [look.inspection.facts.rule_id for look in looks if look.inspection and look.inspection.facts]
    assert ids == [f"ATR-2026-{number:05}" for number in range(100)]
    await lane.close()


async def test_what_takes_too_long_is_killed_and_its_neighbours_are_not() -> None:
    lane = Lane(1)
    assert await lane.call(work.echo, "warm") == "warm"
    results = await asyncio.gather(
        lane.call(work.echo, "a"),
        lane.call(work.spin, "forever"),
        lane.call(work.echo, "b"),
        return_exceptions=True,
    )
    assert results[0] == "a"
    assert isinstance(results[1], LaneTimeout)
    assert results[2] == "b"
    await lane.close()


async def test_the_start_of_the_child_takes_nothing_off_the_deadline() -> None:
    from tests.offload import slow_work  # noqa: PLC0415 - it takes long

    lane = Lane(0.9)
    assert await lane.call(slow_work.echo, "a") == "a"
    await lane.close()


@pytest.mark.parametrize("function", [work.eat_memory, work.die, work.fail, work.unsendable])
async def test_what_breaks_is_an_error_and_the_next_call_works(function: work.Function) -> None:
    lane = Lane(10, memory_mib=400)
    results = await asyncio.gather(
        lane.call(work.echo, "before"),
        lane.call(function, "x"),
        lane.call(work.echo, "after"),
        return_exceptions=True,
    )
    assert results[0] == "before"
    assert isinstance(results[1], LaneError)
    assert results[2] == "after"
    assert await lane.call(work.echo, "next") == "next"
    await lane.close()


async def test_closing_ends_the_child_and_fails_what_waits() -> None:
    lane = Lane(60)
    await lane.call(work.echo, "warm")
    waiting = asyncio.create_task(lane.call(work.spin, "forever"))
    await asyncio.sleep(0)
    await lane.close()
    with pytest.raises(LaneError):
        await waiting
