"""Talking to the instance: the server that holds the state folder, or the application in this process."""

import asyncio
import getpass
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import httpx

from app.cli.options import configured
from app.config import Config, ConfigError
from app.signing.keys import SigningKeyError
from app.storage import AlreadyRunning, StorageError
from app.storage.lock import lock_holder
from app.web.asgi import Receive, Scope, Send
from app.web.server import prepare_state_dir
from app.web.supervision.locking import serves
from app.web.supervision.sockets import control_socket

T = TypeVar("T")
LONG = httpx.Timeout(600.0, connect=10.0)
BASE_URL = "http://instance"
WAIT_SECONDS = 30.0
"""How long a command waits for the one before it, or for a server that starts or stops."""


class Refused(click.ClickException):
    """A refusal by the instance; the message is its error, `detail` its machine-readable part."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(str(body.get("error", "the instance gave no reason")))
        self.detail = body.get("detail")

    def show(self, file: Any = None) -> None:
        """Print the error, and one line for each error or reason that the detail lists."""
        click.echo(f"Error: {self.message}", err=True, file=file)
        detail = self.detail if isinstance(self.detail, dict) else {}
        for error in detail.get("mistakes", []):
            click.echo(f"  {error['name']}: {error['field']}: {error['message']}", err=True, file=file)
        for reason in detail.get("reasons", []):
            click.echo(f"  {reason}", err=True, file=file)


class Instance:
    """The API of one instance, used as its local operator."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Send one request and return the envelope; raise `Refused` with the instance's own words."""
        try:
            response = await self._client.request(method, path, **request)
            body: dict[str, Any] = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise click.ClickException(
                f"the instance does not answer: {error or type(error).__name__}"
            ) from error
        if not body.get("ok"):
            raise Refused(body)
        return body

    async def download(
        self, path: str, sink: Callable[[bytes, int], None], **params: str | int
    ) -> httpx.Headers:
        """Download a file: `sink` gets each piece of it and the size of the whole; return the headers.

        Raises `Refused`, and `click.ClickException` when the file is incomplete.
        """
        try:
            async with self._client.stream("GET", path, params=params) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise Refused(response.json())
                async for piece in response.aiter_bytes():
                    sink(piece, int(response.headers["content-length"]))
                return response.headers
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise click.ClickException(
                f"the instance does not answer: {error or type(error).__name__}"
            ) from error

    async def text(self, path: str) -> str:
        """Return a document that has no envelope; raise `click.ClickException` unless it is there."""
        try:
            response = await self._client.get(path)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise click.ClickException(
                f"the instance does not answer: {error or type(error).__name__}"
            ) from error
        return response.text

    async def pages(self, path: str, limit: int | None, **params: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of a paged list, at most `limit` of them (None: all)."""
        left = limit
        query: dict[str, str] = {name: value for name, value in params.items() if value}
        while left is None or left > 0:
            query["limit"] = str(min(500, left) if left is not None else 500)
            body = await self.call("GET", path, params=query)
            for item in body["data"]:
                yield item
            if left is not None:
                left -= len(body["data"])
            cursor = body["meta"]["next"]
            if cursor is None:
                return
            query["cursor"] = cursor


def request(config_path: Path | None, method: str, path: str, **content: Any) -> Any:
    """Send one request to the configured instance, and return the `data` of its answer."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call(method, path, **content)

    return with_instance(config_path, act)["data"]


def listing(config_path: Path | None, path: str, limit: int | None, **params: str) -> list[dict[str, Any]]:
    """Return the first `limit` items of a paged list (None: all); a note on stderr says when there are more."""

    async def act(instance: Instance) -> list[dict[str, Any]]:
        asked = None if limit is None else limit + 1
        return [item async for item in instance.pages(path, asked, **params)]

    items = with_instance(config_path, act)
    if limit is not None and len(items) > limit:
        click.echo(f"These are the first {limit}; --limit all lists every one.", err=True)
    return items[:limit]


def with_instance(config_path: Path | None, act: Callable[[Instance], Awaitable[T]]) -> T:
    """Run `act` against the configured instance and return what it returns."""
    config = configured(config_path)

    async def run() -> T:
        async with connected(config) as instance:
            return await act(instance)

    try:
        return asyncio.run(run())
    except AlreadyRunning as error:
        raise click.ClickException(f"{error}, which does not answer on its control socket") from error
    except (StorageError, SigningKeyError, ConfigError) as error:
        raise click.ClickException(str(error)) from error


@asynccontextmanager
async def connected(config: Config) -> AsyncIterator[Instance]:
    """Connect to the running server, or open the state folder here when there is none."""
    prepare_state_dir(config.state_dir)
    headers = {"X-Threatcloud-Operator": operator_name()}
    async with AsyncExitStack() as stack:
        transport = await _reach(config, stack)
        client = httpx.AsyncClient(transport=transport, base_url=BASE_URL, headers=headers, timeout=LONG)
        yield Instance(await stack.enter_async_context(client))


async def _reach(config: Config, stack: AsyncExitStack) -> httpx.AsyncBaseTransport:
    """Return the way to the instance; wait while another command works, or a server starts or stops.

    A command connects only when the lock says that a server serves: where the service manager holds the control
    socket, it accepts without one, and would start one. Raises `AlreadyRunning` when the process that holds the state
    folder neither answers nor goes away.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT_SECONDS
    while True:
        holder = lock_holder(config.state_dir)
        if holder is None:
            try:
                return await stack.enter_async_context(_in_process(config))
            except AlreadyRunning:
                if loop.time() >= deadline:
                    raise
        elif serves(holder) and await _listens(control_socket(config.state_dir)):
            return httpx.AsyncHTTPTransport(uds=control_socket(config.state_dir))
        elif loop.time() >= deadline:
            raise AlreadyRunning(holder)
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _in_process(config: Config) -> AsyncIterator[httpx.AsyncBaseTransport]:
    """Open the application inside this process, which holds the lock meanwhile."""
    from app.web.application import create_application  # noqa: PLC0415 (the running server does not need it)
    from app.web.lifespan import opened  # noqa: PLC0415

    application = create_application(config, serving=False)

    async def local(scope: Scope, receive: Receive, send: Send) -> None:
        await application({**scope, "client": None, "server": ("/in-process", None)}, receive, send)

    # Not `litestar.lifespan()`, which wraps every error that passes through it into an exception group.
    async with opened(application.litestar, config, serving=False):
        yield httpx.ASGITransport(local)


async def _listens(path: str) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True


def operator_name() -> str:
    """Return the login name of the person who runs the command, behind sudo too."""
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid-{os.getuid()}"
