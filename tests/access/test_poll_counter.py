"""Polls are counted per key and hour, and none is counted twice or lost on the way to the log."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access import audit_store
from app.access.gatekeeper import Gatekeeper
from app.access.poll_counter import PollCount, PollCounter, append_polls
from app.access.principal import LOCAL, Role
from app.http.paging import Page
from app.storage import Storage
from tests.clock import NOW

HOUR = datetime(2026, 4, 17, 0, 0, tzinfo=UTC)


def test_an_hour_is_reported_once_it_is_over() -> None:
    counter = PollCounter()
    for minute in (3, 20, 59):
        counter.count("a", HOUR + timedelta(minutes=minute))
    counter.count("b", HOUR + timedelta(minutes=30))
    assert counter.flush(HOUR + timedelta(minutes=59, seconds=59)) == []
    assert counter.flush(HOUR + timedelta(hours=1)) == [PollCount("a", HOUR, 3), PollCount("b", HOUR, 1)]
    assert counter.flush(HOUR + timedelta(hours=2)) == []


def test_shutdown_takes_the_running_hour_too() -> None:
    counter = PollCounter()
    counter.count("a", HOUR)
    assert counter.flush(HOUR, force=True) == [PollCount("a", HOUR, 1)]
    counter.count("a", HOUR)
    assert counter.flush(HOUR, force=True) == [PollCount("a", HOUR, 1)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 7200), st.booleans()), max_size=60))
def test_every_poll_is_in_exactly_one_row(polls: list[tuple[str, int, bool]]) -> None:
    counter, now, rows = PollCounter(), HOUR, list[PollCount]()
    for key, seconds, flushes in polls:
        now += timedelta(seconds=seconds)
        counter.count(key, now)
        if flushes:
            rows += counter.flush(now)
    rows += counter.flush(now, force=True)
    assert len({(row.key_id, row.hour) for row in rows}) == len(rows)
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row.key_id] += row.polls
    assert sums == Counter(key for key, _, _ in polls)


@pytest.mark.anyio
async def test_counts_become_audit_entries(storage: Storage, gatekeeper: Gatekeeper) -> None:
    record, _ = await gatekeeper.issue(
        role=Role.PARTNER, subject="cisco", expires=None, site=None, actor="local (root)", now=NOW
    )
    counts = [PollCount(record.id, HOUR, 59), PollCount(LOCAL.key_id, HOUR, 1)]
    await storage.write(lambda db: append_polls(db, counts, NOW))
    entries = await storage.read(lambda db: audit_store.read(db, Page(10, None), action="rules.unchanged"))
    assert [(entry.actor, entry.target, entry.detail["polls"]) for entry in entries] == [
        ("local", "local", 1),
        (f"cisco (key {record.id})", record.id, 59),
    ]
    assert entries[0].detail["hour"] == "2026-04-17T00:00:00.000Z"
