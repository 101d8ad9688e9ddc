"""Alive and ready: two different questions, both free of limits and keys."""

import asyncio
import sqlite3
import time
from typing import Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency

from app import __version__
from app.access.route_guards import public
from app.http.problem import Problem
from app.publication.publisher import Publisher
from app.storage import Storage, StorageUnavailable
from app.storage.instance_store import probe_read, probe_write


class Alive(msgspec.Struct):
    """`GET /health`."""

    status: Literal["alive"]
    version: str


class Ready(msgspec.Struct):
    """`GET /ready`; `serial` is the publication that is served."""

    status: Literal["ready"]
    serial: int


class WriteCheck:
    """Whether the database takes writes, asked at most once a second: everybody may ask us as often as they like."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._wrote_at = float("-inf")

    async def check(self) -> None:
        """Raise `StorageUnavailable` when it takes none."""
        now = time.monotonic()
        if now - self._wrote_at >= 1:
            await self._storage.write(probe_write)
            self._wrote_at = now


@get("/health", guards=[public()])
async def health() -> Alive:
    """Alive: the process answers. Restart it when this fails."""
    return Alive("alive", __version__)


@get("/ready", guards=[public()])
async def ready(publisher: NamedDependency[Publisher], write_check: NamedDependency[WriteCheck]) -> Ready:
    """Ready: the database takes writes and a publication is loaded. Send traffic when this is 200."""
    if publisher.served is None:
        raise Problem(503, "The first publication is still being built.", headers={"Retry-After": "2"})
    try:
        await write_check.check()
    except StorageUnavailable:
        raise Problem(
            503, "The database does not take writes; see `threatcloud doctor`.", headers={"Retry-After": "30"}
        ) from None
    return Ready("ready", publisher.served.serial)


async def database_answers(storage: Storage) -> bool:
    """Wait for an answer of the writer and one of a reader; False when either is that it cannot."""
    answers = await asyncio.gather(
        storage.write(probe_write), storage.read(probe_read), return_exceptions=True
    )
    for error in answers:
        if isinstance(error, BaseException) and not isinstance(error, (StorageUnavailable, sqlite3.Error)):
            raise error
    return not any(isinstance(answer, Exception) for answer in answers)


health_handlers = [health, ready]
