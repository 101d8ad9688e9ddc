"""Prebuilt answers: fresh for an admin, and not built for each of a fleet's reports."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from app.http.response_cache import (
    REFRESH_BURST_SECONDS,
    REFRESH_DEBT_SECONDS,
    REFRESH_DUTY_CYCLE,
    ResponseCache,
)
from app.storage import Storage, StorageUnavailable

pytestmark = pytest.mark.anyio


class CachedNumber:
    """A cache of a number that the test sets, how often it was loaded, and a clock that only moves when the test or a
    load (by `cost` seconds) moves it."""

    def __init__(self, storage: Storage) -> None:
        self.number, self.reads, self.now, self.cost, self.fails = 0, 0, 0.0, 0.1, False
        self.cache: ResponseCache[int] = ResponseCache(storage, self._load, lambda: self.now)

    def _load(self, _db: Database) -> int:
        if self.fails:
            raise StorageUnavailable("gone")
        self.reads += 1
        self.now += self.cost
        return self.number

    async def served(self) -> bytes:
        return (await self.cache.response("number", lambda number: b"%d" % number)).body.plain

    async def exhaust(self) -> None:
        """Report until no time is left."""
        before = -1
        while self.reads != before:
            before = self.reads
            self.cache.mark_stale()
            await self.cache.current()


@pytest.fixture
async def cached(tmp_path: Path) -> AsyncIterator[CachedNumber]:
    storage = Storage(tmp_path)
    yield CachedNumber(storage)
    await storage.close()


async def test_what_an_admin_changes_is_served_at_once(cached: CachedNumber) -> None:
    await cached.served()
    await cached.exhaust()
    for number in range(1, 50):
        cached.number = number
        cached.cache.invalidate()
        assert await cached.served() == b"%d" % number


async def test_a_few_reports_are_served_at_once_and_many_soon(cached: CachedNumber) -> None:
    assert await cached.served() == b"0"
    cached.number = 1
    cached.cache.mark_stale()
    assert await cached.served() == b"1"
    await cached.exhaust()
    reads = cached.reads
    for number in range(2, 500):
        cached.number = number
        cached.cache.mark_stale()
        await cached.served()
    assert cached.reads == reads
    cached.now += 0.1 / REFRESH_DUTY_CYCLE
    assert await cached.served() == b"499"
    assert cached.reads == reads + 1


async def test_a_share_of_the_time_is_used_and_no_more(cached: CachedNumber) -> None:
    await cached.served()
    cached.reads = 0
    for _ in range(36_000):
        cached.now += 0.1
        cached.cache.mark_stale()
        await cached.cache.current()
    spent = cached.reads * cached.cost
    assert spent == pytest.approx(
        REFRESH_DUTY_CYCLE * (cached.now - spent), abs=REFRESH_BURST_SECONDS + cached.cost
    )


@pytest.mark.parametrize("cost", [0.0, 0.0005])
async def test_a_small_list_is_renewed_with_each_report(cached: CachedNumber, cost: float) -> None:
    await cached.served()
    cached.cost, cached.reads = cost, 0
    for _ in range(500):
        cached.now += 0.1
        cached.cache.mark_stale()
        await cached.cache.current()
    assert cached.reads == 500


async def test_a_large_list_is_renewed_within_ten_seconds(cached: CachedNumber) -> None:
    cached.cost = 60.0
    await cached.served()
    await cached.exhaust()
    cached.number = 1
    cached.cache.mark_stale()
    cached.now += REFRESH_DEBT_SECONDS / REFRESH_DUTY_CYCLE + 0.01
    assert await cached.served() == b"1"
    assert REFRESH_DEBT_SECONDS / REFRESH_DUTY_CYCLE <= 10


async def test_only_one_of_many_waits_for_what_reports_changed(cached: CachedNumber) -> None:
    await cached.served()
    cached.number = 1
    cached.cache.mark_stale()
    assert sorted(await asyncio.gather(*(cached.cache.current() for _ in range(5)))) == [0, 0, 0, 0, 1]
    assert await cached.served() == b"1"


async def test_nobody_queues_for_a_renewal_while_one_is_under_way(cached: CachedNumber) -> None:
    await cached.served()
    reads = cached.reads

    async def report_and_ask() -> int:
        cached.cache.mark_stale()
        return await cached.cache.current()

    await asyncio.gather(*(report_and_ask() for _ in range(50)))
    assert cached.reads == reads + 1


async def test_a_read_that_fails_is_made_again(cached: CachedNumber) -> None:
    await cached.served()
    cached.number, cached.fails = 1, True
    cached.cache.mark_stale()
    with pytest.raises(StorageUnavailable):
        await cached.served()
    cached.fails = False
    assert await cached.served() == b"1"
