"""Reading bodies and queries without trusting them: `StrictRequest`, `JsonBody`, `TolerantBody`.

Litestar reads bodies and queries leniently: it takes a repeated key, a lone surrogate and `"7"` for a 7, and
`status=null` for no status at all. Handlers declare what they take; `StrictRequest` makes the declaration hold as
written.

Reports of real clients would be refused by that. Measured: the stock Guard's whitelist report is a JSON string that
holds JSON; its trap sends a bare list; its offline queue sends one object where the daemon sends `{"events":
[...]}`; a script sends text where a list belongs. JavaScript cuts texts between the halves of a surrogate pair, and
a Guard sends a refused batch again for ever. So `TolerantBody` takes what can be understood, and leaves out and
counts an item that cannot.
"""

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NoReturn, TypeVar, get_args

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.enums import RequestEncodingType
from litestar.params import BodyKwarg, SkipValidationMarker
from litestar.typing import FieldDefinition

from app.http.envelope import AnyRequest
from app.http.parameters import declared_by
from app.http.problem import Problem, bad_request

T = TypeVar("T")

JsonBody = Annotated[T, BodyKwarg(media_type=RequestEncodingType.JSON), SkipValidationMarker()]
"""A body that is what it says: `data: JsonBody[NewProposal]`. Litestar gets it whole, so does not check it."""


@dataclass(frozen=True)
class TolerantKwarg(BodyKwarg):
    """A body that real clients send as a report, read as `app.http.requests` says.

    With `member`, the type of the body is a `Batch`: of a bare list, of the list under this name, or of one item.
    `described` is the type that the OpenAPI document shows for it (None: an object with the list `member`).
    """

    media_type: str | RequestEncodingType = RequestEncodingType.JSON
    member: str | None = None
    described: Any = None


TolerantBody = Annotated[T, TolerantKwarg(), SkipValidationMarker()]
"""One report: `data: TolerantBody[ScanEvent]`; a batch has a `TolerantKwarg(member="events")` of its own."""


class StrictRequest(Request[Any, Any, State]):
    """The `request_class` of the application: `data` and query parameters are what handlers declare, or 400."""

    __slots__ = ()

    async def body(self) -> bytes:
        """Return the body; raise `Problem` 400 for none where the handler takes `data`.

        Litestar would not ask for the JSON of an empty body, and report a missing argument.
        """
        body = await super().body()
        if not body and self._data is not None:
            raise bad_request("The request needs a JSON body.")
        return body

    async def json(self) -> Any:
        """Return the body as the type of the handler's `data`, whatever its `Content-Type` says.

        Unknown members are ignored, as every real client expects. Raise `Problem` 400 that names the field at fault
        for what is not UTF-8, not JSON, nested too deeply, repeats a key, lacks a field or has one of another type.
        """
        body, data = await self.body(), self._data
        if data is None:
            return parse_json(body)
        if isinstance(data.kwarg_definition, TolerantKwarg):
            member = data.kwarg_definition.member
            if member is None:
                return one_of(body, data.annotation)
            return batch_of(body, get_args(data.annotation)[0], member)
        document = parse_json(body)
        try:
            return msgspec.convert(document, data.annotation)
        except msgspec.ValidationError as error:
            raise validation_problem(str(error), document) from error

    def read_query(self) -> None:
        """Leave in the query what the handler declares, each parameter once and in its canonical text.

        Raise `Problem` 400 that names the first parameter at fault. Of a parameter sent twice, the first counts.
        """
        declared = declared_by(self.route_handler)
        if not declared:
            return
        sent = self.query_params
        found = []
        for parameter in declared:
            text = parameter.canonical(sent.get(parameter.name))
            if text is not None:
                found.append((parameter.name, text))
        self._parsed_query = tuple(found)

    @property
    def _data(self) -> FieldDefinition | None:
        """The declaration of the handler's body; None when it takes none."""
        return self.route_handler.parsed_fn_signature.parameters.get("data")


async def read_query(request: AnyRequest) -> None:
    """Check the query before Litestar reads it; the application's `before_request` (guards have run by then)."""
    if isinstance(request, StrictRequest):
        request.read_query()


MAX_NUMBER_CHARACTERS = 30
"""Longer numbers carry no meaning here, and converting a million digits takes quadratic time."""
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""The escape of U+0000, as opposed to an escaped backslash before `u0000`, which JSON texts in strings have."""


class _Refused(ValueError):
    """Raised inside the JSON hooks, which may only raise ValueError to stay inside one except clause."""


def parse_json(body: bytes) -> Any:
    """Return any JSON value; raise `Problem` 400 for repeated keys, NUL, lone surrogates, NaN and endless numbers.

    NUL ends a text for SQLite's shell and for everything written in C, so one text would read as two.
    """
    if not body:
        raise bad_request("The request needs a JSON body.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad_request(f"The body is not UTF-8 (byte {error.start}).") from error
    try:
        document = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
        if "\\u" in text:
            _refuse_nul(text)
            msgspec.json.encode(document)
    except _Refused as error:
        raise bad_request(str(error)) from error
    except json.JSONDecodeError as error:
        raise bad_request(
            f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from error
    except RecursionError as error:
        raise bad_request("The body is nested too deeply.") from error
    except UnicodeEncodeError as error:
        raise bad_request("The body has a lone surrogate (\\ud800 to \\udfff without its pair).") from error
    return document


def _refuse_nul(text: str) -> None:
    if _NUL.search(text):
        raise _Refused("The body has a NUL character (\\u0000) in a string.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(f"The body has the key {_excerpt(twice)} twice in one object.")
    return members


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise _Refused(f"The body has a number of {len(text)} characters; at most {MAX_NUMBER_CHARACTERS}.")
    return int(text)


def _float(text: str) -> float:
    value = float(text) if len(text) <= MAX_NUMBER_CHARACTERS else float("inf")
    if value in (float("inf"), float("-inf")):
        raise _Refused(f"The body has a number that is too large or too long: {_excerpt(text)}.")
    return value


def _constant(text: str) -> NoReturn:
    raise _Refused(f"The body has {text}, which is not JSON.")


def _excerpt(text: str) -> str:
    return json.dumps(text if len(text) <= 60 else text[:60] + "...")


def validation_problem(message: str, document: Any) -> Problem:
    """Turn msgspec's `Expected ... - at `$.field`` into a sentence and the field's name."""
    what, _, where = message.partition(" - at `")
    field = where.rstrip("`").removeprefix("$").removeprefix(".")
    if not field and "missing required field `" in what:
        field = what.split("`")[1]
    elif "missing required field `" in what:
        field = f"{field}.{what.split('`')[1]}"
    if not isinstance(document, dict) and not field:
        return bad_request(f"The body must be a JSON object, not {kind_of(document)}.")
    return bad_request(f"{field}: {what[0].lower()}{what[1:]}" if field else what, field or None)


def kind_of(document: Any) -> str:
    """Return what a JSON value is, in words: `a list`, `a number`, `null`."""
    names = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(document), "null")


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
