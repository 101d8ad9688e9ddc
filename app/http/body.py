"""Reading a JSON request body without trusting it."""

import json
import re
from typing import Any, NoReturn, TypeVar

import msgspec

from app.http.envelope import AnyRequest
from app.http.problem import Problem, bad_request

T = TypeVar("T")
MAX_NUMBER_CHARACTERS = 30
"""Longer numbers carry no meaning here, and converting a million digits takes quadratic time."""
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""The escape of U+0000, as opposed to an escaped backslash before `u0000`, which JSON texts in strings have."""


class _Refused(ValueError):
    """Raised inside the JSON hooks, which may only raise ValueError to stay inside one except clause."""


async def read_body(request: AnyRequest, kind: type[T]) -> T:
    """Return the body as `kind` (a `msgspec.Struct`); unknown fields are ignored, as every real client expects.

    Raises `Problem` 400 that names the field at fault for what is not UTF-8, not JSON, nested too deeply,
    repeats a key, lacks a field or has one of another type.
    """
    document = parse_json(await request.body())
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise validation_problem(str(error), document) from error


def parse_json(body: bytes) -> Any:
    """Any JSON value, or `Problem` 400 for duplicate keys, NUL, lone surrogates, NaN and endless numbers too.

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
