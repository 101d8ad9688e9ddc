"""Bytes on a socket, for what no HTTP client would send, and a reader of what comes back."""

import contextlib
import http.client
import io
import json
import socket
from dataclasses import dataclass
from typing import Any

from tests.server import Server


@dataclass(frozen=True)
class Answer:
    """One answer as it came over the wire; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def connect(server: Server, seconds: float = 10) -> socket.socket:
    """A connection whose reads end after `seconds`."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=seconds)


def exchange(server: Server, content: bytes | str, seconds: float = 10) -> bytes:
    """Send, and return everything that came until the server closed the connection."""
    with connect(server, seconds) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has said what it had to say
            connection.sendall(content if isinstance(content, bytes) else content.encode("latin-1"))
        return everything(connection)


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            received += piece
    return bytes(received)


def answers(received: bytes, *, head: bool = False) -> list[Answer]:
    """Every answer in there; `head` when they answer HEAD requests. Bytes that fit no answer are a failure."""
    stream, found = io.BytesIO(received), []
    while stream.tell() < len(received):
        found.append(_answer(stream, head=head))
    return found


def answer(received: bytes, *, head: bool = False) -> Answer:
    """The one answer in there."""
    (only,) = answers(received, head=head)
    return only


def _answer(stream: io.BytesIO, *, head: bool) -> Answer:
    version, status, _ = stream.readline().decode("latin-1").rstrip("\r\n").split(" ", 2)
    assert version in {"HTTP/1.1", "HTTP/1.0"}, version
    parsed = http.client.parse_headers(stream)
    headers = {name.lower(): value for name, value in parsed.items()}
    assert len(headers) == len(parsed.items()), "a header is there twice"
    if head or status in {"304", "204", "100"}:
        return Answer(int(status), headers, b"")
    length = int(headers["content-length"])
    body = stream.read(length)
    assert len(body) == length, "the body is shorter than announced"
    return Answer(int(status), headers, body)


def refused(got: Answer, status: int) -> str:
    """`error` of a refusal, after checking that it is a whole one."""
    assert got.status == status, got
    assert got.headers["content-type"] == "application/json; charset=utf-8"
    assert got.headers["x-content-type-options"] == "nosniff"
    body = got.json
    assert body["ok"] is False
    assert body["request_id"] == got.headers["x-request-id"]
    error: str = body["error"]
    assert error
    return error
