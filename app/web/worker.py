"""gunicorn's ASGI worker, with gaps closed that only show against a hostile or broken client.

Measured on gunicorn 27.0.1: a connection that never completes its first request's headers is kept for ever,
and so is one that asks and does not read the answer; requests that never reach the application (malformed,
headers too long) are answered in plain text, and a `Content-Length` of 5,000 digits not at all. The worker
offers no setting for any of it, so the protocol class is replaced where the worker looks it up; the tests in
`tests/web/test_hostile_http.py` notice when a newer gunicorn changes that.
"""

import asyncio
import fcntl
import gc
import re
import secrets
import socket
import struct
import sys
import termios
from http import HTTPStatus
from typing import Any, ClassVar

from gunicorn.asgi import protocol
from gunicorn.asgi.parser import PythonProtocol
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi
from gunicorn.workers.gasgi import ASGIWorker

from app.http.envelope import encode_refusal
from app.http.problem import Problem

HEADER_SECONDS = 15.0
"""Time for the headers of a connection's first request; later ones have the keep-alive time."""
FIRST_REQUEST_SECONDS = 1.0
"""Time that a new connection has to ask when the server stops."""
STALL_SECONDS = 15.0
"""A client that acknowledges not one byte of an answer for this long is cut off."""
ACCEPTED_AT_ONCE = 16
"""Connections taken from the listen queue in one round of the event loop. libuv takes one for each listening socket
(since 1.45), so new connections waited for seconds behind the requests of open ones (measured: 560 a second)."""
GC_THRESHOLDS = (100_000, 5, 5)
"""How many more containers were made than freed before Python looks for cycles among the young, the older, the old.
Requests and connections leave none behind (`_let_go`). With the usual (700, 10, 10) a fleet's connections, 560 new
ones a second, made it look through everything each few seconds: 60 to 320 ms in which nobody was answered."""
SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter when others wait for it."""

_NO_HEADER_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_SENTENCES = {
    400: "This is not an HTTP/1.1 request",
    414: "The path and query are too long",
    431: "The headers are too many or too long",
    501: "This transfer coding is not supported",
}


class QuickParser(PythonProtocol):  # type: ignore[misc]
    """gunicorn's parser, with its loop over every character of every header value done by a regex.

    The same bytes are refused (RFC 9110 5.5). A poll sends its key, and the loop over the 400 characters of that
    was a twelfth of what a 304 costs (measured).
    """

    def _has_invalid_header_chars(self, value: bytes) -> bool:
        return _NO_HEADER_VALUE.search(value) is not None


class PatientProtocol(ASGIProtocol):  # type: ignore[misc]
    """One connection: bounded in the time of its first headers and of a stalled answer, enveloped in its errors.

    It speaks HTTP/1.1 only: an offer to upgrade is declined by answering the request (RFC 9110 7.8).
    """

    open: ClassVar[set["PatientProtocol"]] = set()
    """Every connection of this process."""

    _overdue: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock on the first request."""
        super().connection_made(transport)
        self.open.add(self)
        self._overdue = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._headers_overdue)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self.open.discard(self)
        for clock in (self._overdue, self._stalled):
            if clock is not None:
                clock.cancel()
        super().connection_lost(exc)
        if self._task is not None:
            self._task.add_done_callback(self._let_go)

    def _let_go(self, _task: Any) -> None:
        """Drop the parser, which holds our methods: a cycle that only the garbage collector would find."""
        self._callback_parser = None

    def pause_writing(self) -> None:
        """Watch a client that reads more slowly than we write."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Stop watching: the answer moves."""
        if self._stalled is not None:
            self._stalled.cancel()
        super().resume_writing()

    def close_if_idle(self) -> None:
        """Close a connection that waits for its next request, as the end of the keep-alive time would.

        One that has not sent its first yet is about to; closing it would fail a client that could not know.
        """
        if self.req_count <= 1:
            asyncio.get_running_loop().call_later(FIRST_REQUEST_SECONDS, self._close_if_waiting)
        else:
            self._close_if_waiting()

    def _close_if_waiting(self) -> None:
        if self._awaiting_request and not self._finishing_calls:
            self._keepalive_timeout()

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._stalled = loop.call_later(STALL_SECONDS, self._check_progress, self._unread())

    def _check_progress(self, unread_before: int) -> None:
        if self._unread() < unread_before:
            self._watch()
        else:
            self.transport.abort()

    def _unread(self) -> int:
        """Bytes of answers that the client has not acknowledged; the kernel alone may hold megabytes of them."""
        sock = self.transport.get_extra_info("socket")
        (queued,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
        return int(self.transport.get_write_buffer_size()) + int(queued)

    def _is_websocket_upgrade(self, _request: Any) -> bool:
        return False

    def _feed_callback_parser(self, data: bytes) -> bool:
        try:
            parsed: bool = super()._feed_callback_parser(data)
        except ValueError:  # a number of more digits than Python converts
            self._send_error_response(400, "a number in the headers is too long")
            self._close_transport()
            return False
        return parsed

    def _headers_overdue(self) -> None:
        if self.req_count <= 1 and self._awaiting_request:
            self._send_error_response(408, f"The headers did not arrive within {HEADER_SECONDS:g} seconds.")
            self._close_transport()

    def _send_error_response(
        self, status: int, message: str, extra_headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        request_id = secrets.token_hex(8)
        sentence = _SENTENCES.get(status)
        error = message if sentence is None else f"{sentence}: {message.strip()}"
        body = encode_refusal(request_id, Problem(status, error))
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "Content-Type: application/json; charset=utf-8",
            f"Content-Length: {len(body)}",
            f"X-Request-Id: {request_id}",
            "X-Content-Type-Options: nosniff",
            "Cache-Control: no-store",
            *(f"{name}: {value}" for name, value in extra_headers),
            "Connection: close",
        ]
        self._safe_write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


class PatientWorker(ASGIWorker):  # type: ignore[misc]
    """The worker class that `threatcloud serve` uses."""

    _queue_restored = False
    _accepting: asyncio.Task[None] | None = None

    def init_process(self) -> None:
        """Put our protocol in place of gunicorn's, in this worker process only."""
        # Threads that print a publication or commit a group must not keep the event loop waiting for the usual
        # 5 ms each time it wants the interpreter (measured: p99 while pulling 833 rules).
        sys.setswitchinterval(SWITCH_SECONDS)
        worker_module: Any = gasgi
        worker_module.ASGIProtocol = PatientProtocol
        protocol_module: Any = protocol
        protocol_module.PythonProtocol = QuickParser
        super().init_process()

    def handle_exit_signal(self) -> None:
        """Stop gracefully; idle connections would only hold that up for their keep-alive time."""
        super().handle_exit_signal()
        for connection in tuple(PatientProtocol.open):
            connection.close_if_idle()

    def notify(self) -> None:
        """Tell the arbiter that we live; the first time also make ready for a fleet.

        asyncio listens again with a queue of 100 on the sockets that gunicorn opened with `backlog`.
        """
        if not self._queue_restored:
            for listener in self.sockets:
                listener.sock.listen(self.cfg.backlog)
            self._queue_restored = True
            # What was made at start stays: the collector need not look through it again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            self._accepting = self.loop.create_task(self._accept_more())
        super().notify()

    async def _accept_more(self) -> None:
        """Serve each TCP socket several times, so that a round of the event loop accepts several connections."""
        for listener in self.sockets:
            if listener.sock.family != socket.AF_UNIX:
                for _ in range(ACCEPTED_AT_ONCE - 1):
                    server = await self.loop.create_server(
                        lambda: gasgi.ASGIProtocol(self), sock=listener.sock.dup(), backlog=self.cfg.backlog
                    )
                    self.servers.append(server)
