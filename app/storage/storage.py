"""`Storage`: the database as the rest of the product uses it."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlite_utils import Database

from app.storage.connection import DATABASE_NAME, MINIMUM_SQLITE, Readers, open_writer
from app.storage.errors import DatabaseDamaged, StorageError
from app.storage.migrate import migrate
from app.storage.swap import finish_swap
from app.storage.writer import Writer

T = TypeVar("T")


class Storage:
    """One open database: durable writes in order, consistent reads beside them.

    The caller must hold the state folder's `ProcessLock`.
    """

    def __init__(self, state_dir: Path) -> None:
        """Open or create `<state_dir>/threatcloud.db` and bring its schema up to date.

        Before that, finish a restore that was interrupted. Raises `DatabaseTooNew`,
        `DatabaseDamaged`, or `StorageError` when that cannot be or SQLite is too old.
        """
        if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
            wanted = ".".join(map(str, MINIMUM_SQLITE))
            raise StorageError(f"SQLite {sqlite3.sqlite_version} is too old: {wanted} or newer is needed")
        finish_swap(state_dir)
        self.path = state_dir / DATABASE_NAME
        try:
            self._db = open_writer(self.path)
            migrate(self._db, self.path)
        except sqlite3.DatabaseError as error:
            raise DatabaseDamaged(f"{self.path} cannot be opened: {error}") from error
        self._writer = Writer(self._db)
        self._readers = Readers(self.path)

    async def write(self, work: Callable[[Database], T]) -> T:
        """Run `work` in a write transaction; return when it is on disk (see `Writer.run`)."""
        return await self._writer.run(work)

    async def read(self, query: Callable[[Database], T]) -> T:
        """Run `query` on one consistent, read-only moment of the database (see `Readers.run`)."""
        return await self._readers.run(query)

    def read_now(self, query: Callable[[Database], T]) -> T:
        """Run a query that finds a row or two by a key, here on the event loop (see `Readers.run_now`)."""
        return self._readers.run_now(query)

    async def close(self) -> None:
        """Finish accepted writes, fold the write-ahead log into the database, close every connection."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._readers.close()
        # On a full disk the log cannot be folded in; it is complete as it is, and the next start reads it.
        with contextlib.suppress(sqlite3.OperationalError):
            self._db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.conn.close()
