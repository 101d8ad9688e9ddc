"""Logs as JSON lines on standard error: events, and one line a request.

Lines of requests are batched, so that logging costs a poll next to nothing.
"""

import asyncio
import logging
import sys
import time
from datetime import UTC, datetime
from typing import IO, Any
from urllib.parse import quote

import msgspec

from app.http.timestamps import to_text

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: when, how severe, which part, what, and every `extra` field."""

    def format(self, record: logging.LogRecord) -> str:
        """Encode a record."""
        line: dict[str, Any] = {
            "at": to_text(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def configure_logging(level: str) -> None:
    """Send every logger to standard error as JSON, from `level` up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These say at "info" what our own log says better.
    for name in ("httpx", "httpcore", "apscheduler"):
        logging.getLogger(name).setLevel(logging.WARNING)


FLUSH_AFTER_SECONDS = 0.2
_encoder = msgspec.json.Encoder()


class AccessLog:
    """Collects lines and writes them together; `sink` None turns the log off.

    A line has the path without its query (a query may hold what is nobody's business) and never a header.
    """

    def __init__(self, sink: IO[bytes] | None) -> None:
        self._sink = sink
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, scope: Any, status: int, sent: int, seconds: float) -> None:
        """Note one finished request."""
        if self._sink is None:
            return
        state = scope["state"]
        principal = state.get("principal")
        line = {
            "at": time.time(),
            "event": "request",
            "request_id": state["request_id"],
            "method": scope["asked_method"],
            "path": _harmless(scope["asked_path"][:200]),
            "status": status,
            "bytes": sent,
            "ms": round(seconds * 1000, 2),
            "address": state["client_address"],
            "key": principal.key_id if principal is not None else None,
        }
        self._lines.append(_encoder.encode(line))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what was collected."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines and self._sink is not None:
            lines, self._lines = self._lines, []
            self._sink.write(b"\n".join(lines) + b"\n")
            self._sink.flush()


def _harmless(path: str) -> str:
    """Return the path as it can be shown anywhere: a terminal obeys U+009B, and U+2028 is a line break to some."""
    return path if path.isascii() else quote(path)
