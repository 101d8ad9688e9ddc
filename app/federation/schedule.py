"""When an upstream is pulled next, and when it counts as stale. Pure: the clock and chance are passed in."""

from datetime import datetime, timedelta

JITTER = 0.1
"""Share of the interval by which a regular pull comes earlier or later, so that instances do not march in step."""
FIRST_PAUSE = 30.0
"""Seconds that the pauses after failures grow from, doubling."""
LEAST_PAUSE = 1.0
MAX_RETRY_AFTER = 86_400.0
"""Most seconds that `Retry-After` is obeyed for."""


def next_pull(now: datetime, every: int, failures: int, retry_after: float | None, chance: float) -> datetime:
    """Return the instant of the next pull.

    After a success (`failures` 0) that is in `every` seconds, 10 % more or less. After failures it is in anything up
    to `min(every, 30 s * 2^failures)` (full jitter), but never before `retry_after` seconds (RFC 9110 10.2.3), of
    which a day is obeyed. `chance` is uniform in [0, 1).
    """
    if not failures:
        return now + timedelta(seconds=every * (1 - JITTER + 2 * JITTER * chance))
    most = min(float(every), FIRST_PAUSE * 2.0 ** min(failures, 32))
    asked = min(retry_after or 0.0, MAX_RETRY_AFTER)
    return now + timedelta(seconds=max(most * chance, asked, LEAST_PAUSE))


def is_due(now: datetime, next_at: datetime | None, every: int) -> bool:
    """Return True when the time has come, or when `next_at` is so far away that the clock must have been set back."""
    if next_at is None or next_at <= now:
        return True
    return next_at - now > timedelta(seconds=max(every * (1 + JITTER), MAX_RETRY_AFTER))


def stale_after(every: int) -> int:
    """Return the seconds without a success after which what an upstream gave counts as stale."""
    return max(3 * every, 900)
