"""What the serving process tells the service manager: ready once, then at each interval that it lives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from app.publication.publisher import Publisher
from app.storage import Storage
from app.web.health import database_answers
from app.web.supervision.notify import Supervisor

UNPUBLISHED_SECONDS = 0.05
"""How often to look for the first publication."""
UNREADY_SECONDS = 1.0
"""How often to ask a database that takes no writes yet."""
IDLE_SECONDS = 10.0
"""How often to look at the database when the manager has not asked for it."""
NO_WRITES = "the database does not take writes, see `threatcloud doctor`"


@asynccontextmanager
async def watched(supervisor: Supervisor, storage: Storage, publisher: Publisher) -> AsyncIterator[None]:
    """Report to the supervisor while the block runs."""
    if not supervisor.listens:
        yield
        return
    task = asyncio.create_task(watch(supervisor, storage, publisher, asyncio.sleep))
    try:
        yield
    finally:
        task.cancel()


async def watch(
    supervisor: Supervisor,
    storage: Storage,
    publisher: Publisher,
    pause: Callable[[float], Awaitable[None]],
) -> None:
    """Report for ever, `pause`-ing in between (seconds).

    Ready is what `/ready` calls ready. Alive is a database that answers: a full disk is an answer, since a restart
    does not mend that, and silence is none.
    """
    interval = supervisor.watchdog_seconds / 3 if supervisor.watchdog_seconds else IDLE_SECONDS
    if publisher.served is None:
        supervisor.tell("STATUS=Building the first publication")
    while publisher.served is None:
        await pause(UNPUBLISHED_SECONDS)
    ready, told = False, ""
    while True:
        takes_writes = await database_answers(storage)
        status = f"STATUS=Serving publication {publisher.served.serial}"
        if not takes_writes:
            status += f"; {NO_WRITES}"
        fields = [] if status == told else [status]
        if not ready and takes_writes:
            fields.append("READY=1")
        if supervisor.watchdog_seconds:
            fields.append("WATCHDOG=1")
        if not fields or supervisor.tell(*fields):
            ready, told = ready or takes_writes, status
        await pause(interval if ready else UNREADY_SECONDS)
