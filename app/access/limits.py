"""Token buckets: a burst is allowed, a lasting rate is not exceeded."""

from collections import OrderedDict
from dataclasses import dataclass
from math import ceil

ROUNDING = 1e-6
"""Seconds. Epoch seconds as floats are exact to 0.24 microseconds: without this grace, a client that comes back
exactly after `retry_after` would be refused once more. What is taken too early stays owed."""


@dataclass(frozen=True, slots=True)
class RateVerdict:
    """The answer of a bucket to one request.

    `limit` is the bucket's capacity, `remaining` the whole tokens left, `reset_seconds` the time until it is
    full again, `retry_after` the seconds until the refused request would pass (0 when it was allowed).
    """

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    retry_after: int


class TokenBuckets:
    """One bucket per key, in memory, at most `max_keys`: the one unused longest is forgotten (full again).

    While time does not run backwards, a key never gets more than `capacity + refill_per_second * seconds`.
    """

    def __init__(self, capacity: int, refill_per_second: float, max_keys: int = 50_000) -> None:
        self._capacity = capacity
        self._refill = refill_per_second
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float, cost: int = 1) -> RateVerdict:
        """Take `cost` tokens at the instant `now` (seconds); a refused request takes nothing.

        A clock that was set back refills nothing for the step and goes on from there.
        """
        tokens, updated = self._buckets.get(key, (float(self._capacity), now))
        tokens = min(self._capacity, tokens + max(0.0, now - updated) * self._refill)
        allowed = tokens + ROUNDING * self._refill >= cost
        if allowed:
            tokens -= cost
        self._buckets[key] = (tokens, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        return RateVerdict(
            allowed=allowed,
            limit=self._capacity,
            remaining=int(tokens),
            reset_seconds=ceil((self._capacity - tokens) / self._refill),
            retry_after=0 if allowed else max(1, ceil((cost - tokens) / self._refill)),
        )

    def __len__(self) -> int:
        return len(self._buckets)
