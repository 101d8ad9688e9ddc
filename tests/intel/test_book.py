"""Prebuilt answers: fresh for an admin, and not built for each of a fleet's reports."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from app.intel.book import BURST, SETTLE_SECONDS, Book
from app.storage import Storage, StorageUnavailable

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Shelf:
    """A book of a number that the test sets, how often it was read, and a clock that the test moves."""

    def __init__(self, storage: Storage) -> None:
        self.number, self.reads, self.now, self.fails = 0, 0, 0.0, False
        self.book: Book[int] = Book(storage, self._load, lambda: self.now)

    def _load(self, _db: Database) -> int:
        if self.fails:
            raise StorageUnavailable("gone")
        self.reads += 1
        return self.number

    async def served(self) -> bytes:
        return (await self.book.page("number", lambda number: b"%d" % number)).body.plain

    async def exhaust(self) -> None:
        """Report until no renewal is left."""
        for _ in range(BURST):
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
    shelf.now += SETTLE_SECONDS
    assert await shelf.served() == b"499"
    assert shelf.reads == reads + 1


async def test_only_one_of_many_waits_for_what_reports_changed(shelf: Shelf) -> None:
    await shelf.served()
    shelf.number = 1
    shelf.book.drifted()
    assert sorted(await asyncio.gather(*(shelf.book.current() for _ in range(5)))) == [0, 0, 0, 0, 1]
    assert await shelf.served() == b"1"


async def test_a_read_that_fails_is_made_again(shelf: Shelf) -> None:
    await shelf.served()
    shelf.number, shelf.fails = 1, True
    shelf.book.drifted()
    with pytest.raises(StorageUnavailable):
        await shelf.served()
    shelf.fails = False
    assert await shelf.served() == b"1"
