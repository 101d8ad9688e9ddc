"""What replaces a part of gunicorn does what that part does, and connections leave nothing behind."""

import asyncio
import gc
import logging
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.asgi.parser import PythonProtocol
from gunicorn.config import Config

from app.web.worker import PatientProtocol, QuickParser


async def not_modified(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 304, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def ask_and_hang_up(made: list[weakref.ref[PatientProtocol]]) -> None:
    log = SimpleNamespace(
        access_log_enabled=False, **{n: getattr(logging, n) for n in ("debug", "exception")}
    )
    worker = SimpleNamespace(
        cfg=Config(),
        log=log,
        loop=asyncio.get_running_loop(),
        asgi=not_modified,
        nr_conns=0,
        nr=0,
        alive=True,
        max_requests=10**9,
        state={},
    )

    def protocol() -> PatientProtocol:
        made.append(weakref.ref(connection := PatientProtocol(worker)))
        return connection

    server = await worker.loop.create_server(protocol, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nHost: instance\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 304")
    writer.close()
    await writer.wait_closed()
    while worker.nr_conns:
        await asyncio.sleep(0)
    server.close()
    await server.wait_closed()


def test_a_closed_connection_is_gone_without_the_garbage_collector() -> None:
    made: list[weakref.ref[PatientProtocol]] = []
    gc.disable()
    try:
        asyncio.run(ask_and_hang_up(made))
        assert [connection() for connection in made] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize("byte", range(256))
def test_the_parser_refuses_the_same_header_values(byte: int) -> None:
    value = bytes([65, byte, 65])
    theirs, ours = (kind()._has_invalid_header_chars(value) for kind in (PythonProtocol, QuickParser))
    assert ours is theirs
