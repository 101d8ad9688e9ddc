"""The audit log in the database: complete with its deed, filtered, paged, and honest about tampering."""

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlite_utils import Database

from app.access import audit_store
from app.access.audit_chain import GENESIS
from app.http.paging import Page
from app.storage import Storage
from tests.clock import NOW

pytestmark = pytest.mark.anyio


async def fill(storage: Storage, count: int = 6) -> None:
    for number in range(count):
        entry = partial(
            audit_store.append,
            at=NOW + timedelta(minutes=number),
            actor=f"admin-{number % 2} (key 0{number % 2})",
            action="key.issue" if number % 3 else "key.revoke",
            target=f"t{number}",
            detail={"n": number, "a": "ü"},
            address="192.0.2.1",
        )
        await storage.write(entry)


def execute(db: Database, statement: str) -> None:
    db.conn.execute(statement)


def tamper(path: Path, *statements: str) -> None:
    """What somebody with the file and a shell can do."""
    with sqlite3.connect(path / "threatcloud.db") as connection:
        connection.execute("DROP TRIGGER audit_is_append_only_update")
        connection.execute("DROP TRIGGER audit_is_append_only_delete")
        for statement in statements:
            connection.execute(statement)
    connection.close()


async def test_entries_are_read_newest_first_with_what_was_recorded(storage: Storage) -> None:
    await fill(storage, 2)
    entries = await storage.read(lambda db: audit_store.read(db, Page(10, None)))
    assert [(e.id, e.at, e.actor, e.action, e.target, e.address) for e in entries] == [
        (2, "2026-04-17T10:31:00.124Z", "admin-1 (key 01)", "key.issue", "t1", "192.0.2.1"),
        (1, "2026-04-17T10:30:00.124Z", "admin-0 (key 00)", "key.revoke", "t0", "192.0.2.1"),
    ]
    assert entries[0].detail == {"n": 1, "a": "ü"}


async def test_pages_show_everything_once_while_new_entries_arrive(storage: Storage) -> None:
    await fill(storage, 6)
    seen, page = list[int](), Page(2, None)
    while True:
        entries = await storage.read(partial(audit_store.read, page=page))
        seen += [entry.id for entry in entries[:2]]
        await fill(storage, 1)
        if len(entries) < 3:
            break
        page = Page(2, (str(seen[-1]),))
    assert seen == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (lambda db: audit_store.read(db, Page(10, None), action="key.revoke"), [4, 1]),
        (lambda db: audit_store.read(db, Page(10, None), action="key"), []),
        (lambda db: audit_store.read(db, Page(10, None), actor="admin-1"), [6, 4, 2]),
        (lambda db: audit_store.read(db, Page(10, None), actor="admin-1 (key 01)"), [6, 4, 2]),
        (lambda db: audit_store.read(db, Page(10, None), actor="admin-"), []),
        (lambda db: audit_store.read(db, Page(10, None), since=NOW + timedelta(minutes=4)), [6, 5]),
        (lambda db: audit_store.read(db, Page(10, ("3",))), [2, 1]),
        (lambda db: audit_store.read(db, Page(10, ("junk",))), []),
    ],
)
async def test_a_filter_finds_whole_names_only(
    storage: Storage,
    query: Callable[[Database], list[audit_store.AuditEntry]],
    ids: list[int],
) -> None:
    await fill(storage)
    entries = await storage.read(query)
    assert [entry.id for entry in entries] == ids


async def test_a_change_that_fails_leaves_no_entry(storage: Storage) -> None:
    def work(db: Database) -> None:
        audit_store.append(db, at=NOW, actor="a", action="b")
        raise RuntimeError("the deed failed")

    with pytest.raises(RuntimeError):
        await storage.write(work)
    assert (await storage.read(audit_store.verify)).entries == 0


async def test_the_database_refuses_changes_and_removals(storage: Storage) -> None:
    await fill(storage, 2)
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit WHERE id = 2"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            await storage.write(partial(execute, statement=statement))


async def test_an_untouched_log_holds_and_an_empty_one_too(storage: Storage) -> None:
    assert (await storage.read(audit_store.verify)).head == GENESIS
    await fill(storage)
    entries = await storage.read(lambda db: audit_store.read(db, Page(1, None)))
    report = await storage.read(audit_store.verify)
    assert (report.entries, report.head, report.broken_at, report.why) == (6, entries[0].hash, None, None)


@pytest.mark.parametrize(
    ("statements", "broken_at", "why"),
    [
        (["UPDATE audit SET actor = 'nobody' WHERE id = 3"], 3, "changed"),
        (["UPDATE audit SET detail = '{}' WHERE id = 3"], 3, "changed"),
        (["UPDATE audit SET detail = detail || ' ' WHERE id = 3"], 3, "changed"),
        (["UPDATE audit SET target = NULL WHERE id = 6"], 6, "changed"),
        (["DELETE FROM audit WHERE id = 3"], 4, "entry 3 is missing"),
        (["DELETE FROM audit WHERE id = 1"], 2, "entry 1 is missing"),
        (["DELETE FROM audit WHERE id = 1", "UPDATE audit SET id = id - 1"], 1, "does not continue"),
        (
            [
                "UPDATE audit SET id = 100 WHERE id = 2",
                "UPDATE audit SET id = 2 WHERE id = 3",
                "UPDATE audit SET id = 3 WHERE id = 100",
            ],
            2,
            "does not continue",
        ),
    ],
)
async def test_tampering_is_reported(
    storage: Storage, tmp_path: Path, statements: list[str], broken_at: int, why: str
) -> None:
    await fill(storage)
    tamper(tmp_path, *statements)
    report = await storage.read(audit_store.verify)
    assert report.broken_at == broken_at
    assert why in (report.why or "")
