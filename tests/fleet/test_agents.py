"""Sync state and staleness of one agent."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.fleet.agents import FleetPolicy, is_stale, stale_limit, sync_state_of
from app.http.timestamps import to_text
from tests.database import NOW

DAY = timedelta(days=1)


@given(st.none() | st.integers(1, 100), st.integers(0, 100))
def test_an_agent_is_current_only_with_the_newest_serial(serial: int | None, newest: int) -> None:
    state = sync_state_of(serial, newest)
    assert (state == "never") == (serial is None)
    if serial is not None:
        assert (state == "behind") == (serial < newest)


def test_a_key_that_was_never_used_is_stale_from_its_issue_on() -> None:
    limit = stale_limit(NOW, FleetPolicy(stale_hours=24))
    assert is_stale(None, to_text(NOW - DAY - timedelta(seconds=1)), limit)
    assert not is_stale(None, to_text(NOW - DAY), limit)
    assert not is_stale(to_text(NOW), to_text(NOW - 400 * DAY), limit)
