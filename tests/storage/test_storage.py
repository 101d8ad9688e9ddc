"""The database: durable, ordered, isolated writes; consistent reads; migrations forward only."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlite_utils import Database

from app.storage import (
    AlreadyRunning,
    DatabaseDamaged,
    DatabaseTooNew,
    Storage,
    StorageUnavailable,
)
from app.storage.lock import ProcessLock, lock_holder
from app.storage.schema import MIGRATIONS
from tests.needs import need_root

pytestmark = pytest.mark.anyio


def put(name: str) -> Callable[[Database], str]:
    def work(db: Database) -> str:
        db.execute("INSERT INTO instance (name, value) VALUES (?, 'x')", [name])
        return name

    return work


async def names(storage: Storage) -> set[str]:
    return {
        row[0] for row in await storage.read(lambda db: db.execute("SELECT name FROM instance").fetchall())
    }


async def test_many_writers_at_once_are_all_kept_and_get_their_own_answers(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    answers = await asyncio.gather(*(storage.write(put(f"n{i}")) for i in range(1000)))
    assert answers == [f"n{i}" for i in range(1000)]
    assert await names(storage) == {f"n{i}" for i in range(1000)}
    await storage.close()


async def test_work_that_fails_is_undone_alone(tmp_path: Path) -> None:
    storage = Storage(tmp_path)

    def half_done(db: Database) -> None:
        db.execute("INSERT INTO instance (name, value) VALUES ('half', 'x')")
        raise LookupError("halfway")

    results = await asyncio.gather(
        storage.write(put("before")),
        storage.write(half_done),
        storage.write(put("after")),
        return_exceptions=True,
    )
    assert isinstance(results[1], LookupError)
    assert await names(storage) == {"before", "after"}
    await storage.close()


async def test_a_constraint_that_is_broken_reaches_its_caller(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    await storage.write(put("once"))
    with pytest.raises(sqlite3.IntegrityError):
        await storage.write(put("once"))
    await storage.close()


async def test_the_table_api_commits_nothing_by_itself(tmp_path: Path) -> None:
    storage = Storage(tmp_path)

    def work(db: Database) -> None:
        table = db.table("instance")
        table.insert({"name": "a", "value": "1"})
        table.insert_all({"name": name, "value": "1"} for name in "bc")
        table.update("a", {"value": "2"})
        table.delete("b")
        table.delete_where("name = ?", ["c"])
        assert [*db.query("SELECT * FROM instance")] == [*table.rows] == [{"name": "a", "value": "2"}]
        assert db.conn.in_transaction
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await storage.write(work)
    assert await names(storage) == set()
    await storage.close()


async def test_readers_cannot_write(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    with pytest.raises(StorageUnavailable, match="readonly"):
        await storage.read(put("sneaky"))
    await storage.close()


async def test_a_read_sees_one_moment(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    loop = asyncio.get_running_loop()

    def twice(db: Database) -> tuple[int, int]:
        count = "SELECT count(*) FROM instance"
        first = db.execute(count).fetchone()[0]
        asyncio.run_coroutine_threadsafe(storage.write(put("between")), loop).result(10)
        return first, db.execute(count).fetchone()[0]

    assert await storage.read(twice) == (0, 0)
    assert await names(storage) == {"between"}
    await storage.close()


async def test_after_close_nothing_is_accepted(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    await storage.close()
    with pytest.raises(StorageUnavailable):
        await storage.write(put("late"))


def test_an_acknowledged_write_survives_kill_9(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from app.storage import Storage
async def main():
    storage = Storage(Path(sys.argv[1]))
    async def writer(w):
        for n in range(10**9):
            name = f"{w}-{n}"
            await storage.write(lambda db: db.execute("INSERT INTO instance VALUES (?, 'x')", [name]) and None)
            print(name, flush=True)
    await asyncio.gather(*(writer(w) for w in range(8)))
asyncio.run(main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(400)]
    os.kill(process.pid, signal.SIGKILL)
    acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
    process.wait()
    connection = sqlite3.connect(tmp_path / "threatcloud.db")
    kept = {row[0] for row in connection.execute("SELECT name FROM instance")}
    assert set(acknowledged) <= kept
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    need_root()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(tmp_path)], check=True)
    try:
        storage = Storage(tmp_path)
        await storage.write(put("kept"))

        def too_much(db: Database) -> None:
            db.execute("INSERT INTO instance (name, value) VALUES ('big', ?)", ["x" * 8_000_000])

        with pytest.raises(StorageUnavailable):
            await storage.write(too_much)
        await storage.write(put("small enough"))
        assert await names(storage) == {"kept", "small enough"}
        await storage.close()
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


async def test_a_database_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    await Storage(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "threatcloud.db")
    with connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('threatcloud', 'm9999', '')"
        )
    connection.close()
    with pytest.raises(DatabaseTooNew, match="m9999"):
        Storage(tmp_path)


async def test_an_older_database_is_kept_as_a_snapshot_and_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(tmp_path)
    await storage.write(put("old data"))
    await storage.close()

    def m9000_addition(db: Database) -> None:
        db.execute("CREATE TABLE addition (id INTEGER PRIMARY KEY) STRICT")

    from sqlite_utils import Migrations  # noqa: PLC0415

    newer = Migrations("threatcloud")
    for migration in (*MIGRATIONS, m9000_addition):
        newer()(migration)
    monkeypatch.setattr("app.storage.migrate.migrations", newer)
    monkeypatch.setattr("app.storage.migrate.MIGRATIONS", (*MIGRATIONS, m9000_addition))
    migrated = Storage(tmp_path)
    assert await names(migrated) == {"old data"}
    assert await migrated.read(lambda db: db["addition"].exists())
    await migrated.close()
    (snapshot,) = (tmp_path / "snapshots").iterdir()
    assert snapshot.stat().st_mode & 0o777 == 0o600
    old = sqlite3.connect(snapshot)
    assert old.execute("SELECT name FROM instance").fetchall() == [("old data",)]
    assert old.execute("SELECT count(*) FROM sqlite_master WHERE name = 'addition'").fetchone() == (0,)
    old.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "threatcloud.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(DatabaseDamaged):
        Storage(tmp_path)


def test_the_lock_names_its_holder_and_is_free_after_release(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) is None
    with ProcessLock(tmp_path, "a test"):
        assert lock_holder(tmp_path) == f"pid {os.getpid()} (a test)"
        with pytest.raises(AlreadyRunning, match=str(os.getpid())):
            ProcessLock(tmp_path, "another").acquire()
    assert lock_holder(tmp_path) is None


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from app.storage.lock import ProcessLock\n"
        "ProcessLock(Path(sys.argv[1]), 'victim').acquire(); print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    assert lock_holder(tmp_path) == f"pid {process.pid} (victim)"
    process.kill()
    process.wait()
    process.stdout.close()
    assert lock_holder(tmp_path) is None


async def test_what_is_read_now_has_every_write_that_was_answered(tmp_path: Path) -> None:
    storage = Storage(tmp_path)

    def found(db: Database) -> list[str]:
        return [
            name for (name,) in db.execute("SELECT name FROM instance WHERE name LIKE 'n%' ORDER BY name")
        ]

    for number in range(3):
        await storage.write(put(f"n{number}"))
        assert storage.read_now(found) == [f"n{earlier}" for earlier in range(number + 1)]
    with pytest.raises(StorageUnavailable):
        storage.read_now(lambda db: db.execute("INSERT INTO instance (name, value) VALUES ('no', 'x')"))
    await storage.close()
