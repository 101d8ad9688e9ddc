"""The single writer: a thread that commits many waiting requests in one transaction (group commit)."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlite_utils import Database

from app.storage.errors import StorageError, StorageUnavailable

T = TypeVar("T")
MAX_GROUP = 256
"""Requests per transaction; beyond this a group's latency grows faster than its throughput."""


@dataclass(slots=True, eq=False)
class _Request:
    work: Callable[[Database], Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    result: Any = None
    error: BaseException | None = None


class Writer:
    """Runs work on the writing connection, in order of arrival, and answers after the commit.

    Each request runs in a savepoint of its own: one that raises is undone alone, and its neighbours in the
    same group still commit.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[Database], T]) -> T:
        """Run `work` inside a write transaction and return its result once that is durable.

        Raises what `work` raises, or `StorageUnavailable` when the transaction could not be kept.
        """
        if self._closed:
            raise StorageUnavailable("the database is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Request(work, loop, future))
        return await future

    def close(self) -> None:
        """Finish what was accepted, then stop the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while True:
            request = self._queue.get()
            group: list[_Request] = []
            while request is not None:
                group.append(request)
                if len(group) == MAX_GROUP:
                    break
                try:
                    request = self._queue.get_nowait()
                except Empty:
                    break
            if group:
                self._commit(group)
                _answer(group)
            if request is None:
                return

    def _commit(self, group: list[_Request]) -> None:
        execute = self._db.conn.execute
        try:
            execute("BEGIN IMMEDIATE")
            for request in group:
                self._apply(request)
            execute("COMMIT")
        except (sqlite3.Error, StorageUnavailable) as error:
            if self._db.conn.in_transaction:
                execute("ROLLBACK")
            for request in group:
                if request.error is None:
                    request.result = None
                    request.error = StorageUnavailable(f"the write was not kept: {error}")

    def _apply(self, request: _Request) -> None:
        execute = self._db.conn.execute
        execute("SAVEPOINT request")
        try:
            request.result = request.work(self._db)
        except Exception as error:
            request.error = error
            if not self._db.conn.in_transaction:
                # A full disk or an I/O error rolls the whole transaction back: nobody in the group was kept.
                raise StorageUnavailable(str(error)) from error
            execute("ROLLBACK TO request")
            if isinstance(error, sqlite3.OperationalError):
                request.error = StorageUnavailable(f"the write was not kept: {error}")
        execute("RELEASE request")


def _answer(group: list[_Request]) -> None:
    """Wake each event loop once per group; a wake-up per request would cost more than the commit."""
    loops = {id(request.loop): request.loop for request in group}
    for key, loop in loops.items():
        mine = [request for request in group if id(request.loop) == key]
        try:
            loop.call_soon_threadsafe(_resolve, mine)
        except RuntimeError:
            # The loop is gone (shutdown): the work is committed, only nobody waits for the answer any more.
            continue


def _resolve(group: list[_Request]) -> None:
    for request in group:
        if request.future.done():
            continue
        if request.error is None:
            request.future.set_result(request.result)
        elif isinstance(request.error, (StorageError, Exception)):
            request.future.set_exception(request.error)
