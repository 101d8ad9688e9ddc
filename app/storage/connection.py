"""How a connection is opened: the pragmas, in the one order that works.

The read-only connections of a few threads are here too.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlite_utils import Database

from app.storage.errors import StorageUnavailable

DATABASE_NAME = "threatcloud.db"
"""In the state folder."""
MINIMUM_SQLITE = (3, 37, 0)
"""STRICT tables need 3.37; Debian 12 ships 3.40."""

# busy_timeout first: switching to WAL takes a lock and would otherwise fail at once on a busy file.
WRITER_PRAGMAS = (
    "PRAGMA busy_timeout=5000",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA mmap_size=0",
    "PRAGMA cache_size=-16000",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA wal_autocheckpoint=2000",
)
READER_PRAGMAS = (
    "PRAGMA busy_timeout=5000",
    "PRAGMA query_only=ON",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA mmap_size=0",
    "PRAGMA cache_size=-4000",
)


def open_writer(path: Path) -> Database:
    """Open the one writing connection, creating the file when it is missing.

    Transactions are the caller's (`isolation_level=None`): sqlite-utils' own start deferred and then fail
    under a concurrent writer instead of waiting.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    for pragma in WRITER_PRAGMAS:
        connection.execute(pragma)
    return Database(connection)


def open_reader(path: Path) -> Database:
    """Open a read-only connection; it cannot write, checkpoint or create the file."""
    connection = sqlite3.connect(
        f"file:{_quote(path)}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    for pragma in READER_PRAGMAS:
        connection.execute(pragma)
    return Database(connection)


def _quote(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


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
