"""An open-loop load generator: visits begin when they are due, whether or not earlier ones were answered.

So a stall of the server is seen by everybody who would have come meanwhile (no coordinated omission). It shares the
machine with the server, hence raw sockets on uvloop, no HTTP library, and no copy of what arrives.
"""

import asyncio
import gc
import resource
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import cast

import uvloop

TIMEOUT_SECONDS = 10.0
"""As stock Guards wait."""
SLOW_MS = 50.0
_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


@dataclass(frozen=True, slots=True)
class Step:
    """One request of a visit; `noted` is given the head of the answer."""

    kind: str
    request: bytes
    noted: Callable[[bytes], None] | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """What one client does on one connection, one request after the other, `due` seconds after the start.

    `source` is the client's own loopback address. Afterwards the connection stays open until the server ends it.
    """

    due: float
    source: str
    steps: list[Step]


class Outcome:
    """What came of it all: latencies in milliseconds by kind, and what failed.

    The first request of a visit is measured from the instant that the visit was due, the connection included; the
    later ones from the end of the answer before, since a Guard waits for that.
    """

    def __init__(self) -> None:
        self.latencies: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self.errors: Counter[str] = Counter()
        self.slow: list[tuple[float, str, float]] = []
        self.connections = 0
        self.received = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0

    def percentile(self, share: float, kind: str | None = None) -> float:
        """The latency that this share of the answers did not exceed, of one kind or of all."""
        values = sorted(self._values(kind))
        return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0

    def count(self, kind: str | None = None) -> int:
        """How many answers there were."""
        return sum(1 for _ in self._values(kind))

    def _values(self, kind: str | None) -> Iterator[float]:
        for name, values in self.latencies.items():
            if kind in (None, name):
                yield from values


class _Connection(asyncio.BufferedProtocol):
    """One visit under way."""

    buffer = memoryview(bytearray(262_144))

    def __init__(self, visit: Visit, start: float, outcome: Outcome, active: "set[_Connection]") -> None:
        self._visit = visit
        self._start = start
        self._outcome = outcome
        self._active = active
        self._next = 0
        self._head = b""
        self._left = -1
        self.since = start + visit.due
        self._transport: asyncio.Transport | None = None
        active.add(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport has write and abort, but is no asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        self._outcome.connections += 1
        self._transport.write(self._visit.steps[0].request)

    def get_buffer(self, _hint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, size: int) -> None:
        self._outcome.received += size
        if self not in self._active:
            return
        if self._left < 0:
            self._head += bytes(self.buffer[:size])
            end = self._head.find(_END)
            if end < 0:
                return
            body = len(self._head) - end - len(_END)
            self._head = self._head[: end + 2]
            self._left = _length(self._head) - body
        else:
            self._left -= size
        if self._left <= 0:
            self._answered()

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._active:
            self.fail(f"connection lost: {error or 'closed by the server'}")

    def fail(self, why: str) -> None:
        """Give up what is not answered."""
        self._active.discard(self)
        step = self._visit.steps[self._next]
        self._outcome.errors[f"{step.kind}: {why}"] += 1
        if self._transport is not None:
            self._transport.abort()

    def _answered(self) -> None:
        now, step, outcome = perf_counter(), self._visit.steps[self._next], self._outcome
        milliseconds = (now - self.since) * 1000
        status = self._head[9:12]
        if self._left < 0 or not (status[:1] == b"2" or status == b"304"):
            self.fail(f"status {status.decode('latin-1')}")
            return
        outcome.latencies[step.kind].append(milliseconds)
        if milliseconds > SLOW_MS:
            outcome.slow.append((now - self._start, step.kind, milliseconds))
        if step.noted is not None:
            step.noted(self._head)
        self._head, self._left = b"", -1
        self._next += 1
        self.since = now
        if self._next == len(self._visit.steps):
            self._active.discard(self)
        elif self._transport is not None:
            self._transport.write(self._visit.steps[self._next].request)


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(_LENGTH)
    return int(lower[at + len(_LENGTH) : lower.index(b"\r", at + 2)]) if at >= 0 else 0


def run(visits: Iterable[Visit], port: int) -> Outcome:
    """Carry out visits, which come in order of time, against a port of 127.0.0.1; returns when all are over."""
    outcome = Outcome()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        uvloop.run(_run(iter(visits), port, outcome))
    finally:
        gc.enable()
        gc.unfreeze()
    return outcome


async def _run(visits: Iterator[Visit], port: int, outcome: Outcome) -> None:
    loop = asyncio.get_running_loop()
    active: set[_Connection] = set()
    tasks: set[asyncio.Task[None]] = set()
    start, cpu = perf_counter(), _cpu_seconds()

    async def begin(visit: Visit) -> None:
        connection = _Connection(visit, start, outcome, active)
        try:
            await loop.create_connection(lambda: connection, "127.0.0.1", port, local_addr=(visit.source, 0))
        except OSError as error:
            connection.fail(f"no connection: {error}")

    def give_up() -> None:
        limit = perf_counter() - TIMEOUT_SECONDS
        for connection in [connection for connection in active if connection.since < limit]:
            connection.fail("no answer in time")
        loop.call_later(1, give_up)

    give_up()
    for visit in visits:
        await asyncio.sleep(max(0.0, start + visit.due - perf_counter()))
        task = loop.create_task(begin(visit))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    outcome.seconds = perf_counter() - start
    while tasks or active:  # noqa: ASYNC110 (polled once, at the end)
        await asyncio.sleep(0.05)
    outcome.cpu_seconds = _cpu_seconds() - cpu


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
