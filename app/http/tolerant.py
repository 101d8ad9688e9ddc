"""Reading the bodies that real clients send as reports, where `app.http.body` would refuse them.

Measured: the stock Guard's whitelist report is a JSON string that holds JSON; its trap sends a bare list; its
offline queue sends one object where the daemon sends `{"events": [...]}`; a script sends text where a list belongs.
JavaScript cuts texts between the halves of a surrogate pair, and a Guard sends a refused batch again for ever. So
what can be understood is taken, and an item that cannot is left out and counted.
"""

import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from app.http.body import kind_of, parse_json, validation_problem
from app.http.envelope import AnyRequest
from app.http.problem import Problem, bad_request

T = TypeVar("T")
MAX_ITEMS = 10_000
"""Items of one request; stock clients keep at most 1,000."""

_ESCAPES = re.compile(
    r"\\\\"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""An escaped backslash, a surrogate pair, or one of what must be mended: NUL and a surrogate by itself."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """The items of a request that could be understood, and how many could not."""

    items: list[T]
    skipped: int


async def read_document(request: AnyRequest) -> Any:
    """Return the body as a JSON object or list, decoded twice where a client encoded it twice.

    NUL and lone surrogates in texts become U+FFFD. Raises `Problem` 400 for everything else that is not JSON, and
    for null, numbers, booleans and plain text.
    """
    return parse_tolerantly(await request.body())


def parse_tolerantly(body: bytes) -> Any:
    """Return a body as `read_document` does."""
    document = parse_json(_mended(body))
    if isinstance(document, str):
        inner = document.lstrip()
        if inner.startswith(("{", "[")):
            document = parse_json(_mended(inner.encode()))
    if not isinstance(document, (dict, list)):
        raise bad_request(f"The body must be a JSON object or list, not {kind_of(document)}.")
    return document


async def read_one(request: AnyRequest, kind: type[T]) -> T:
    """Return the body as one `kind` (a `msgspec.Struct`); unknown members are ignored, `"7"` is taken for a 7.

    Raises `Problem` 400 that names the field at fault.
    """
    return one_of(await request.body(), kind)


def one_of(body: bytes, kind: type[T]) -> T:
    """Return a body as `read_one` does."""
    document = parse_tolerantly(body)
    if not isinstance(document, dict):
        raise bad_request("The body must be a JSON object, not a list.")
    return _converted(document, kind)


async def read_batch(request: AnyRequest, kind: type[T], member: str) -> Batch[T]:
    """Return the items of a bare list, of the list `member` of an object, or the one object that the body is.

    Raises `Problem` 400 when there are items and none can be understood (the reason is that of the first), 413 for
    more than `MAX_ITEMS`.
    """
    return batch_of(await request.body(), kind, member)


def batch_of(body: bytes, kind: type[T], member: str) -> Batch[T]:
    """Return the items of a body as `read_batch` does."""
    found = items_of(parse_tolerantly(body), member)
    if len(found) > MAX_ITEMS:
        raise Problem(
            413, f"{member}: {len(found)} items; at most {MAX_ITEMS} in one request.", {"field": member}
        )
    items: list[T] = []
    first: Problem | None = None
    for item in found:
        try:
            items.append(_converted(item, kind))
        except Problem as problem:
            first = first or problem
    if first is not None and not items:
        raise first
    return Batch(items, len(found) - len(items))


def items_of(document: Any, member: str) -> list[Any]:
    """Return a list as it is, the list under `member`, or the object as the only item."""
    if isinstance(document, list):
        return document
    inner = document.get(member)
    return inner if isinstance(inner, list) else [document]


def _converted(document: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(document, kind, strict=False)
    except msgspec.ValidationError as error:
        raise validation_problem(str(error), document) from error


def _mended(body: bytes) -> bytes:
    if b"\\u" not in body:
        return body
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return body  # refused by the parser, with the place
    return _ESCAPES.sub(lambda found: found[0] if len(found[0]) in (2, 12) else r"\ufffd", text).encode()
