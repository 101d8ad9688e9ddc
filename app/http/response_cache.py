"""Answers that are built when their data changed, not when somebody asks for them.

Where a whole fleet reports, data changes a hundred times a second. So no more than a `SHARE` of the time goes into
reading what reports changed; meanwhile whoever asks gets the answers there are. Small lists are renewed with each
report, large ones each few seconds.
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

from app.http.conditional import is_current
from app.http.envelope import AnyRequest
from app.http.prepared import Headers, NotModified, Prepared, PreparedBody, accepts_gzip
from app.storage import Storage

T = TypeVar("T")
PAGES = 64
"""Different questions whose answers are kept; clients ask one or two."""

SHARE = 0.02
"""Of the time, for renewals after reports. Guards ask every five minutes, and reading 1,500 skills and building their
pages takes 0.2 s of a busy interpreter (measured)."""
SAVED_SECONDS = 0.4
"""Of what was not used: so much reading may follow at once."""
OVERDRAWN_SECONDS = 0.2
"""How far a slow reading can use it up: the next one is due within ten seconds."""

_EVER = datetime.max.replace(tzinfo=UTC)
"""No `If-Modified-Since` is after it: a list can change twice in a second, so only the ETag decides."""


@dataclass(frozen=True, slots=True)
class BookPage:
    """One answer: its body up to what is of the request alone, and its validator."""

    body: PreparedBody
    etag: str

    @classmethod
    def of(cls, content: bytes) -> "BookPage":
        """Compress and digest `content`."""
        return cls(PreparedBody.prepare(content), f'W/"{hashlib.sha256(content).hexdigest()[:32]}"')

    def answer(self, request: AnyRequest, media: bytes, rest: bytes) -> ASGIApp:
        """Return the whole answer, ending in `rest`, or a 304."""
        sent: dict[str, str] = request.scope["state"]["headers"]
        headers: Headers = (
            (b"etag", self.etag.encode("ascii")),
            (b"cache-control", b"private, no-cache"),
            (b"vary", b"Authorization, Accept-Encoding"),
        )
        if is_current(sent, self.etag, _EVER):
            return NotModified(headers)
        if accepts_gzip(sent.get("accept-encoding", "")):
            headers = (*headers, (b"content-encoding", b"gzip"))
            return Prepared(headers, self.body.gzip, self.body.finish_gzip(rest), media)
        return Prepared(headers, self.body.plain, rest, media)


class Book(Generic[T]):
    """One set of data in memory, read again after `changed` and `drifted`, and the pages made of it.

    `clock` is in seconds, as `time.monotonic`.
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
        self._read: tuple[int, T] | None = None
        self._has_drifted = False
        self._left, self._since = SAVED_SECONDS, clock()
        self._pages: OrderedDict[Hashable, asyncio.Future[BookPage]] = OrderedDict()
        self._reading = asyncio.Lock()

    def changed(self) -> None:
        """Say that the data is another now, for all who ask from here on; call it after the write is durable."""
        self._generation += 1

    def drifted(self) -> None:
        """Say that reports changed the data: where many do, it is enough to know that soon."""
        self._has_drifted = True

    async def current(self) -> T:
        """Return the data as it is, read at most once for each change however many ask."""
        if self._is_outdated():
            async with self._reading:
                if self._is_outdated():
                    await self._renew()
        elif self._has_drifted and not self._reading.locked() and self._has_time():
            # Only who finds it drifted waits; the others go on with what there is, if it drifts on meanwhile too.
            async with self._reading:
                await self._renew()
                self._spent()
        assert self._read is not None  # noqa: S101 (renewed above)
        return self._read[1]

    async def page(self, question: Hashable, build: Callable[[T], bytes]) -> BookPage:
        """Return the answer to a question; `build` makes its content, in a thread, once for however many ask."""
        data = await self.current()
        pages = self._pages
        page = pages.get(question)
        if page is None or (page.done() and page.exception() is not None):
            page = asyncio.ensure_future(asyncio.to_thread(lambda: BookPage.of(build(data))))
            pages[question] = page
            if len(pages) > PAGES:
                pages.popitem(last=False)
        pages.move_to_end(question)
        return await asyncio.shield(page)

    def _is_outdated(self) -> bool:
        return self._read is None or self._read[0] != self._generation

    def _has_time(self) -> bool:
        now = self._clock()
        self._left = min(self._left + (now - self._since) * SHARE, SAVED_SECONDS)
        self._since = now
        return self._left > 0

    def _spent(self) -> None:
        now = self._clock()
        self._left = max(self._left - (now - self._since), -OVERDRAWN_SECONDS)
        self._since = now

    async def _renew(self) -> None:
        generation, self._has_drifted = self._generation, False
        try:
            self._read = (generation, await self._storage.read(self._load))
        except BaseException:
            self._has_drifted = True
            raise
        self._pages = OrderedDict()
