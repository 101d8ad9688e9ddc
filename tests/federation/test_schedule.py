"""When an upstream is pulled next, for any chance."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.federation.schedule import MAX_RETRY_AFTER, is_due, next_pull, stale_after
from tests.clock import NOW

everys = st.integers(10, 30 * 86_400)
chances = st.floats(0, 1, exclude_max=True)
patiences = st.none() | st.floats(0, 1e9)


def pause(every: int, failures: int, retry_after: float | None, chance: float) -> float:
    return (next_pull(NOW, every, failures, retry_after, chance) - NOW).total_seconds()


@given(everys, chances)
def test_after_a_success_it_is_the_interval_ten_percent_more_or_less(every: int, chance: float) -> None:
    assert 0.9 * every - 0.001 <= pause(every, 0, None, chance) <= 1.1 * every + 0.001


@given(everys, st.integers(1, 10_000), patiences, chances)
def test_after_failures_never_earlier_than_asked_nor_later_than_the_interval_or_a_day(
    every: int, failures: int, retry_after: float | None, chance: float
) -> None:
    found = pause(every, failures, retry_after, chance)
    asked = min(retry_after or 0, MAX_RETRY_AFTER)
    assert asked - 0.001 <= found <= max(every, asked) + 0.001
    assert found >= 1


def test_pauses_after_failures_double() -> None:
    assert [round(pause(3600, failures, None, 0.5)) for failures in range(1, 8)] == [
        30,
        60,
        120,
        240,
        480,
        960,
        1800,
    ]


@given(everys, st.integers(0, 40), patiences, chances)
def test_it_is_due_then_and_not_before(
    every: int, failures: int, retry_after: float | None, chance: float
) -> None:
    at = next_pull(NOW, every, failures, retry_after, chance)
    assert is_due(at, at, every)
    assert not is_due(NOW, at, every)


def test_never_pulled_is_due_and_so_is_a_time_that_only_a_wrong_clock_can_have_set() -> None:
    assert is_due(NOW, None, 60)
    assert is_due(NOW, NOW + timedelta(days=400), 60)
    assert not is_due(NOW, NOW + timedelta(days=20), 20 * 86_400)


def test_what_counts_as_stale() -> None:
    assert stale_after(60) == 900
    assert stale_after(3600) == 10_800
