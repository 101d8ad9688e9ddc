"""`Problem`: every refusal that a client can meet, raised anywhere below a route."""

from collections.abc import Mapping
from typing import Any

MAX_QUOTED = 60
"""Characters of an untrusted text that a sentence of ours repeats."""


class Problem(Exception):
    """An answer with `ok: false`.

    `error` is a sentence that names what is wrong and how to mend it, or a stable code; `detail` adds
    machine-readable parts. No secret, SQL, path or traceback belongs in either.
    """

    def __init__(
        self,
        status: int,
        error: str,
        detail: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.detail = detail
        self.headers = dict(headers or {})


def bad_request(error: str, field: str | None = None, **detail: Any) -> Problem:
    """400: the request cannot be understood; `field` names the part at fault."""
    if field is not None:
        detail["field"] = field
    return Problem(400, error, detail or None)


def not_found(what: str) -> Problem:
    """404: `what` is a sentence such as `no proposal has this hash`."""
    return Problem(404, what)


def conflict(error: str, **detail: Any) -> Problem:
    """409: understood, but the present state does not allow it."""
    return Problem(409, error, detail or None)


def quoted(text: str) -> str:
    """Return at most 60 characters of `text`, ASCII only, in quotes: for the middle of a sentence."""
    return ascii(text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}...")


def printable(text: str) -> str:
    """Return `text`, or its escapes when part of it cannot be printed or written as UTF-8."""
    return text if text.isprintable() else ascii(text)[1:-1]
