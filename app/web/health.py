"""Alive and ready: two different questions, both free of limits and keys."""

import asyncio
import sqlite3
import time

from litestar import get
from litestar.response import Response
from sqlite_utils import Database

from app import __version__
from app.access.guards import public
from app.http.envelope import AnyRequest, answer
from app.http.problem import Problem
from app.storage import Storage, StorageUnavailable


@get("/health", guards=[public()])
async def health(request: AnyRequest) -> Response[bytes]:
    """Alive: the process answers. Restart it when this fails."""
    return answer(request, {"status": "alive", "version": __version__})


@get("/ready", guards=[public()])
async def ready(request: AnyRequest) -> Response[bytes]:
    """Ready: the database takes writes and a publication is loaded. Send traffic when this is 200."""
    served = request.app.state.publisher.served
    if served is None:
        raise Problem(503, "The first publication is still being built.", headers={"Retry-After": "2"})
    await _check_writes(request)
    return answer(request, {"status": "ready", "serial": served.serial})


async def _check_writes(request: AnyRequest) -> None:
    """Ask the database at most once a second, since everybody may ask us as often as they like."""
    state, now = request.app.state, time.monotonic()
    if now - state.get("wrote_at", float("-inf")) < 1:
        return
    try:
        await state.storage.write(_touch)
    except StorageUnavailable:
        raise Problem(
            503, "The database does not take writes; see `threatcloud doctor`.", headers={"Retry-After": "30"}
        ) from None
    state["wrote_at"] = now


async def database_answers(storage: Storage) -> bool:
    """Wait for an answer of the writer and one of a reader; False when either is that it cannot."""
    answers = await asyncio.gather(storage.write(_touch), storage.read(_look), return_exceptions=True)
    for error in answers:
        if isinstance(error, BaseException) and not isinstance(error, (StorageUnavailable, sqlite3.Error)):
            raise error
    return not any(isinstance(answer, Exception) for answer in answers)


def _look(db: Database) -> None:
    """Prove that the database can be read."""
    db.execute("SELECT 1 FROM instance LIMIT 1").fetchone()


def _touch(db: Database) -> None:
    """Prove that a write transaction commits, without growing anything."""
    db.execute(
        "INSERT INTO instance (name, value) VALUES ('ready', '1')"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    )


health_handlers = [health, ready]
