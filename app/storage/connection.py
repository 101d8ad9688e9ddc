"""How a connection is opened: the pragmas, in the one order that works."""

import sqlite3
from pathlib import Path

from sqlite_utils import Database

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
