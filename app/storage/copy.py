"""Copying a database while it is in use."""

import sqlite3
from pathlib import Path

from app.storage.connection import open_reader
from app.storage.errors import DatabaseDamaged, StorageUnavailable


def copy_database(source: Path, target: Path) -> None:
    """Write one moment of `source` to the new file `target`, complete in itself, without a log beside it.

    Through a read-only connection, so that nothing is written or checkpointed beside the single writer, who goes on
    meanwhile; what is committed and still in the log is in the copy. Raises `DatabaseDamaged`, or
    `StorageUnavailable` when it cannot be read or `target` not be written.
    """
    try:
        db = open_reader(source)
        try:
            # The file itself is opened read-only; this pragma would forbid the copy too.
            db.conn.execute("PRAGMA query_only=OFF")
            db.conn.execute("VACUUM INTO ?", [str(target)])
        finally:
            db.conn.close()
    except sqlite3.OperationalError as error:
        raise StorageUnavailable(f"{source} could not be copied: {error}") from error
    except sqlite3.DatabaseError as error:
        raise DatabaseDamaged(f"{source} is damaged: {error}") from error
