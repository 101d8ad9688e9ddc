"""Read-only connections, one for each of a few threads."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlite_utils import Database

from app.storage.connection import open_reader
from app.storage.errors import StorageUnavailable

T = TypeVar("T")


class Readers:
    """Runs queries off the event loop, each on its thread's own read-only connection."""

    def __init__(self, path: Path, threads: int = 3) -> None:
        self._path = path
        self._local = threading.local()
        self._opened: list[Database] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")

    async def run(self, query: Callable[[Database], T]) -> T:
        """Run `query` in one read transaction, so that all it sees is one moment of the database.

        Raises what `query` raises, or `StorageUnavailable` when the file cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._query, query)

    def run_now(self, query: Callable[[Database], T]) -> T:
        """Run `query` at once, on a connection of the calling thread: for what finds a row or two by a key.

        That takes 20 microseconds, while handing it to another thread costs hundreds where both want the
        interpreter (measured: a fleet's first requests after a restart, 560 a second, took 65 ms instead of 3). The
        log is write-ahead, so no writer is waited for. Raises as `run` does.
        """
        return self._query(query)

    def _query(self, query: Callable[[Database], T]) -> T:
        try:
            db = self._connection()
            db.conn.execute("BEGIN")
            try:
                return query(db)
            finally:
                db.conn.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            raise StorageUnavailable(f"the database could not be read: {error}") from error

    def _connection(self) -> Database:
        db: Database | None = getattr(self._local, "db", None)
        if db is None:
            db = open_reader(self._path)
            self._local.db = db
            self._opened.append(db)
        return db

    def close(self) -> None:
        """Wait for running queries and close every connection."""
        self._pool.shutdown()
        for db in self._opened:
            db.conn.close()
