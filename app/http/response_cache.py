"""Cache of list responses: built when the data has changed, not for each request.

Where a whole fleet reports, the data changes a hundred times a second. Therefore at most `REFRESH_DUTY_CYCLE` of the
time is spent on reloading data that reports have changed; in between, requests get the responses there are. Small
lists are reloaded after each report, large ones every few seconds.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from litestar.types import ASGIApp
from sqlite_utils import Database

from app.http.envelope import AnyRequest
from app.http.prepared import Headers, NotModified, Prepared, PreparedBody, accepts_gzip, is_current
from app.storage import Storage

T = TypeVar("T")
MAX_RESPONSES = 64
"""How many responses one cache keeps, one for each distinct query; clients send one or two queries."""

REFRESH_DUTY_CYCLE = 0.02
"""The share of the time that reloads after reports may take. Guards ask every five minutes, and reading 1,500 skills
and rendering their responses takes 0.2 s of a busy interpreter (measured)."""
REFRESH_BURST_SECONDS = 0.4
"""The most reload time that is saved up while none is used; a burst of reports may use it at once."""
REFRESH_DEBT_SECONDS = 0.2
"""The most reload time that one slow reload can be in debt with; it is paid back within ten seconds."""

NO_LAST_MODIFIED = datetime.max.replace(tzinfo=UTC)
"""Stands for the time of change where no Last-Modified is sent: no `If-Modified-Since` is later, so only the ETag
decides. A list can change twice in a second, which Last-Modified could not tell apart."""


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """One response: its body up to the part that belongs to the request, and its ETag."""

    body: PreparedBody
    etag: str

    @classmethod
    def of(cls, content: bytes) -> "CachedResponse":
        """Compress and digest `content`."""
        return cls(PreparedBody.prepare(content), f'W/"{hashlib.sha256(content).hexdigest()[:32]}"')

    def answer(self, request: AnyRequest, media: bytes, rest: bytes) -> ASGIApp:
        """Return the whole response, ending in `rest`, or a 304."""
        sent: dict[str, str] = request.scope["state"]["headers"]
        headers: Headers = (
            (b"etag", self.etag.encode("ascii")),
            (b"cache-control", b"private, no-cache"),
            (b"vary", b"Authorization, Accept-Encoding"),
        )
        if is_current(sent, self.etag, NO_LAST_MODIFIED):
            return NotModified(headers)
        if accepts_gzip(sent.get("accept-encoding", "")):
            headers = (*headers, (b"content-encoding", b"gzip"))
            return Prepared(headers, self.body.gzip, self.body.finish_gzip(rest), media)
        return Prepared(headers, self.body.plain, rest, media)


class ResponseCache(Generic[T]):
    """One set of data in memory, reloaded after `invalidate` and `mark_stale`, and the responses made of it.

    `clock` returns seconds, as `time.monotonic` does.
    """

    def __init__(
        self,
        storage: Storage,
        load: Callable[[Database], T],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._load = load
        self._clock = clock
        self._generation = 0
        self._loaded: tuple[int, T] | None = None
        self._is_stale = False
        self._budget, self._budget_at = REFRESH_BURST_SECONDS, clock()
        self._responses: OrderedDict[Hashable, asyncio.Future[CachedResponse]] = OrderedDict()
        self._reloading = asyncio.Lock()

    def invalidate(self) -> None:
        """Drop the data: every later request gets the present state. Call it after the write is durable."""
        self._generation += 1

    def mark_stale(self) -> None:
        """Note that reports changed the data: it is reloaded when the duty cycle allows."""
        self._is_stale = True

    async def current(self) -> T:
        """Return the data, loaded at most once for each change, however many requests ask."""
        if self._is_outdated():
            async with self._reloading:
                if self._is_outdated():
                    await self._reload()
        elif self._is_stale and not self._reloading.locked() and self._has_budget():
            # Only the request that finds the data stale waits; the others go on with what there is, even if more
            # reports arrive meanwhile.
            async with self._reloading:
                await self._reload()
                self._spend_budget()
        assert self._loaded is not None  # noqa: S101 (loaded above)
        return self._loaded[1]

    async def response(self, query: Hashable, render: Callable[[T], bytes]) -> CachedResponse:
        """Return the response to a query; `render` makes its content in a thread, once for all who ask."""
        data = await self.current()
        responses = self._responses
        response = responses.get(query)
        if response is None or (response.done() and response.exception() is not None):
            response = asyncio.ensure_future(asyncio.to_thread(lambda: CachedResponse.of(render(data))))
            responses[query] = response
            if len(responses) > MAX_RESPONSES:
                responses.popitem(last=False)
        responses.move_to_end(query)
        return await asyncio.shield(response)

    def _is_outdated(self) -> bool:
        return self._loaded is None or self._loaded[0] != self._generation

    def _has_budget(self) -> bool:
        now = self._clock()
        saved = self._budget + (now - self._budget_at) * REFRESH_DUTY_CYCLE
        self._budget, self._budget_at = min(saved, REFRESH_BURST_SECONDS), now
        return self._budget > 0

    def _spend_budget(self) -> None:
        now = self._clock()
        self._budget = max(self._budget - (now - self._budget_at), -REFRESH_DEBT_SECONDS)
        self._budget_at = now

    async def _reload(self) -> None:
        generation, self._is_stale = self._generation, False
        try:
            self._loaded = (generation, await self._storage.read(self._load))
        except BaseException:
            self._is_stale = True
            raise
        self._responses = OrderedDict()
