"""SQLite under one roof: a single writer with group commit, read-only readers, migrations, the process lock.

The rules of this floor (decision 0002):

* exactly one process writes, and it proves that by holding `ProcessLock`;
* exactly one connection in it writes and checkpoints, owned by the `Writer` thread: SQLite before 3.51.3 can
  corrupt a WAL database when two connections write or checkpoint at once;
* a write is acknowledged only after its transaction is committed with `synchronous=FULL`;
* readers are opened read-only and never hold a transaction across an await.
"""

from app.storage.errors import (
    AlreadyRunning,
    DatabaseDamaged,
    DatabaseTooNew,
    StorageError,
    StorageUnavailable,
)
from app.storage.storage import Storage

__all__ = [
    "AlreadyRunning",
    "DatabaseDamaged",
    "DatabaseTooNew",
    "Storage",
    "StorageError",
    "StorageUnavailable",
]
