"""SQLite under one roof: a single writer with group commit, read-only readers, migrations, the process lock.

The rules of this package (docs/decisions/0002):

* exactly one process writes, and it proves that by holding `ProcessLock`;
* exactly one connection in it writes and checkpoints, owned by the `Writer` thread: SQLite before 3.51.3 can
  corrupt a WAL database when two connections write or checkpoint at once;
* a write is acknowledged only after its transaction is committed with `synchronous=FULL`;
* readers are opened read-only and never hold a transaction across an await.

SQL is in modules named `store` or `*_store` only. A store that people call now and then uses the table API of
sqlite-utils: `db.table("t").insert`, `update`, `delete`, `get`, `rows_where`, and `db.query`. Inside the writer's
open transaction each of them is a savepoint of its own and commits nothing (a test says so). A store on the way of
every request uses prepared SQL by `db.conn.execute`: the table API reads the schema again for each call, which made
an insert 14 times and a look-up 10 times as slow (measured with 4.2: 0.6 and 0.45 ms against 0.04 ms on a busy
machine). `db.execute` does the same as `db.conn.execute`, with tracing. Do not use `upsert`: to learn what SQLite can
do, it creates and drops a table in the caller's transaction.
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
