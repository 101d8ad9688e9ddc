"""What the service manager hears of us: ready, reloading, stopping, alive (sd_notify(3)).

The serving process says once that it is ready, and at each interval that it lives.
"""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Self

from app.publication.publisher import Publisher
from app.storage import Storage
from app.web.health import database_answers

log = logging.getLogger(__name__)

SEND_SECONDS = 1.0
"""How long a message may wait for room in the manager's queue; the next one says the same again."""
EXTENSION_SECONDS = 60
"""How much more time a start asks for at once, a third of it before that is over."""


class Supervisor:
    """The service manager, or nobody: then telling does nothing.

    `address` is its datagram socket, a path or, with `@` in front, an abstract name; `watchdog_seconds` is how
    often it wants to hear that we live.
    """

    def __init__(self, address: str | None = None, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self.watchdog_seconds = watchdog_seconds

    @classmethod
    def take(cls, environ: MutableMapping[str, str], pid: int) -> Self:
        """Read the manager's wishes out of the environment, so that no child process can speak for us."""
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        meant = environ.pop("WATCHDOG_PID", str(pid))
        if not address.startswith(("/", "@")):
            return cls()
        watched = microseconds.isdecimal() and int(microseconds) > 0 and meant == str(pid)
        return cls(address, int(microseconds) / 1e6 if watched else None)

    @property
    def listens(self) -> bool:
        """Is there anybody to tell?"""
        return self._address is not None

    def tell(self, *fields: str) -> bool:
        """Send fields such as `READY=1` in one message; False when it could not be delivered. Never raises."""
        if self._address is None:
            return True
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(SEND_SECONDS)
                channel.connect(name)
                channel.sendall("\n".join(fields).encode())
        except OSError as error:
            log.warning("the service manager does not take messages: %s", error)
            return False
        return True

    @contextlib.contextmanager
    def patient(self, status: str) -> Iterator[None]:
        """Ask for more time for as long as the block takes, and say what it does."""
        if not self.listens:
            yield
            return
        done = threading.Event()

        def ask() -> None:
            self.tell(f"STATUS={status}", more_time(EXTENSION_SECONDS))
            while not done.wait(EXTENSION_SECONDS / 3):
                self.tell(more_time(EXTENSION_SECONDS))

        thread = threading.Thread(target=ask, name="patience", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


NOBODY = Supervisor()
"""Who is told where no service manager started us."""


def more_time(seconds: float) -> str:
    """Return the field that asks for that much time from now on, where less is left."""
    return f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}"


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
