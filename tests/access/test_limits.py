"""Token buckets: the promised burst, never more than the promised rate, bounded memory."""

from hypothesis import example, given
from hypothesis import strategies as st

from app.access.limits import TokenBuckets

steps = st.lists(st.tuples(st.floats(0, 120), st.integers(1, 4)), max_size=60)


@given(capacity=st.integers(1, 20), per_minute=st.integers(1, 600), steps=steps, start=st.floats(0, 2e9))
def test_never_more_than_capacity_plus_refill(
    capacity: int, per_minute: int, steps: list[tuple[float, int]], start: float
) -> None:
    buckets = TokenBuckets(capacity, per_minute / 60)
    now, taken = start, 0
    for wait, cost in steps:
        now += wait
        verdict = buckets.take("key", now, cost)
        taken += cost * verdict.allowed
        assert taken <= capacity + (now - start) * per_minute / 60 + 1e-3
        assert 0 <= verdict.remaining <= verdict.limit == capacity


@given(capacity=st.integers(1, 20), per_minute=st.integers(1, 600), steps=steps, start=st.floats(0, 2e9))
@example(capacity=1, per_minute=1, steps=[(68.15995024529418, 1), (0.0, 1)], start=0.0)
def test_a_client_that_waits_for_retry_after_is_allowed(
    capacity: int, per_minute: int, steps: list[tuple[float, int]], start: float
) -> None:
    buckets = TokenBuckets(capacity, per_minute / 60)
    now = start
    for wait, _ in steps:
        now += wait
        verdict = buckets.take("key", now)
        if not verdict.allowed:
            assert verdict.retry_after >= 1
            now += verdict.retry_after
            assert buckets.take("key", now).allowed
        else:
            assert verdict.retry_after == 0


def test_the_whole_burst_then_the_steady_rate() -> None:
    buckets = TokenBuckets(2, 1 / 60)
    assert [buckets.take("k", 0.0).allowed for _ in range(3)] == [True, True, False]
    assert buckets.take("k", 0.0).retry_after == 60
    assert not buckets.take("k", 59.0).allowed
    assert buckets.take("k", 60.5).allowed
    assert not buckets.take("k", 61.0).allowed


def test_a_refused_request_takes_nothing() -> None:
    buckets = TokenBuckets(1, 1.0)
    buckets.take("k", 0.0)
    for tenth in range(1, 10):
        assert not buckets.take("k", tenth / 10).allowed
    assert buckets.take("k", 1.0).allowed


def test_keys_do_not_share() -> None:
    buckets = TokenBuckets(1, 1.0)
    assert buckets.take("a", 0.0).allowed
    assert buckets.take("b", 0.0).allowed
    assert not buckets.take("a", 0.0).allowed


def test_a_clock_set_back_neither_refills_nor_freezes() -> None:
    buckets = TokenBuckets(1, 1.0)
    assert buckets.take("k", 10_000.0).allowed
    assert not buckets.take("k", 5.0).allowed
    assert buckets.take("k", 6.0).allowed


def test_memory_is_bounded_and_the_longest_unused_goes_first() -> None:
    buckets = TokenBuckets(1, 0.001, max_keys=100)
    for number in range(100):
        buckets.take(str(number), 0.0)
    assert not buckets.take("0", 0.0).allowed
    for number in range(100, 199):
        buckets.take(str(number), 0.0)
    assert len(buckets) == 100
    assert not buckets.take("0", 0.0).allowed
    assert buckets.take("1", 0.0).allowed
