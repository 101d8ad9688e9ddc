"""Prebuilt answers: fresh for an admin, and not built for each of a fleet's reports."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from app.http.response_cache import OVERDRAWN_SECONDS, SAVED_SECONDS, SHARE, Book
from app.storage import Storage, StorageUnavailable

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Shelf:
    """A book of a number that the test sets, how often it was read, and a clock that only moves when the test or a
    reading (by `cost` seconds) moves it."""

    def __init__(self, storage: Storage) -> None:
        self.number, self.reads, self.now, self.cost, self.fails = 0, 0, 0.0, 0.1, False
        self.book: Book[int] = Book(storage, self._load, lambda: self.now)

    def _load(self, _db: Database) -> int:
        if self.fails:
            raise StorageUnavailable("gone")
        self.reads += 1
        self.now += self.cost
        return self.number

    async def served(self) -> bytes:
        return (await self.book.page("number", lambda number: b"%d" % number)).body.plain

    async def exhaust(self) -> None:
        """Report until no time is left."""
        before = -1
        while self.reads != before:
            before = self.reads
            self.book.drifted()
            await self.book.current()


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    storage = Storage(tmp_path)
    yield Shelf(storage)
    await storage.close()


async def test_what_an_admin_changes_is_served_at_once(shelf: Shelf) -> None:
    await shelf.served()
    await shelf.exhaust()
    for number in range(1, 50):
        shelf.number = number
        shelf.book.changed()
        assert await shelf.served() == b"%d" % number


async def test_a_few_reports_are_served_at_once_and_many_soon(shelf: Shelf) -> None:
    assert await shelf.served() == b"0"
    shelf.number = 1
    shelf.book.drifted()
    assert await shelf.served() == b"1"
    await shelf.exhaust()
    reads = shelf.reads
    for number in range(2, 500):
        shelf.number = number
        shelf.book.drifted()
        await shelf.served()
    assert shelf.reads == reads
    shelf.now += 0.1 / SHARE
    assert await shelf.served() == b"499"
    assert shelf.reads == reads + 1


async def test_a_share_of_the_time_is_used_and_no_more(shelf: Shelf) -> None:
    await shelf.served()
    shelf.reads = 0
    for _ in range(36_000):
        shelf.now += 0.1
        shelf.book.drifted()
        await shelf.book.current()
    spent = shelf.reads * shelf.cost
    assert spent == pytest.approx(SHARE * (shelf.now - spent), abs=SAVED_SECONDS + shelf.cost)


@pytest.mark.parametrize("cost", [0.0, 0.0005])
async def test_a_small_list_is_renewed_with_each_report(shelf: Shelf, cost: float) -> None:
    await shelf.served()
    shelf.cost, shelf.reads = cost, 0
    for _ in range(500):
        shelf.now += 0.1
        shelf.book.drifted()
        await shelf.book.current()
    assert shelf.reads == 500


async def test_a_large_list_is_renewed_within_ten_seconds(shelf: Shelf) -> None:
    shelf.cost = 60.0
    await shelf.served()
    await shelf.exhaust()
    shelf.number = 1
    shelf.book.drifted()
    shelf.now += OVERDRAWN_SECONDS / SHARE + 0.01
    assert await shelf.served() == b"1"
    assert OVERDRAWN_SECONDS / SHARE <= 10


async def test_only_one_of_many_waits_for_what_reports_changed(shelf: Shelf) -> None:
    await shelf.served()
    shelf.number = 1
    shelf.book.drifted()
    assert sorted(await asyncio.gather(*(shelf.book.current() for _ in range(5)))) == [0, 0, 0, 0, 1]
    assert await shelf.served() == b"1"


async def test_nobody_queues_for_a_renewal_while_one_is_under_way(shelf: Shelf) -> None:
    await shelf.served()
    reads = shelf.reads

    async def report_and_ask() -> int:
        shelf.book.drifted()
        return await shelf.book.current()

    await asyncio.gather(*(report_and_ask() for _ in range(50)))
    assert shelf.reads == reads + 1


async def test_a_read_that_fails_is_made_again(shelf: Shelf) -> None:
    await shelf.served()
    shelf.number, shelf.fails = 1, True
    shelf.book.drifted()
    with pytest.raises(StorageUnavailable):
        await shelf.served()
    shelf.fails = False
    assert await shelf.served() == b"1"
