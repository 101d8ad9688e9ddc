"""Query parameters as handlers declare them, held against what was sent.

A handler (or what it depends on) declares a parameter with its type and bounds:

    status: FromQuery[Status | None] = None
    minimum: Annotated[int, QueryParameter(name="minReputation", ge=0, le=100)] = 50

From that follow its conversion, its place in the OpenAPI document, and the sentence of its refusal:
`status: one of draft, pending`, `minReputation: a whole number from 0 to 100`. Where another sentence says it better,
`QueryParameter(description=...)` is that sentence, in the document as in the refusal.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg, QueryParameter
from litestar.typing import FieldDefinition

from app.http.problem import Problem, bad_request
from app.http.timestamps import from_text

MAX_NUMBER_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class DeclaredParameter:
    """One query parameter: its name on the wire, how its text is read, and what a refusal says of it."""

    name: str
    sentence: str
    is_required: bool
    read: Callable[[str], str]
    """Returns the canonical text of a value, which Litestar converts without fail; raises `ValueError`."""

    def canonical(self, text: str | None) -> str | None:
        """Return the canonical form of what was sent; raise `Problem` 400 for anything else than declared."""
        if text is None:
            if self.is_required:
                raise self._refusal()
            return None
        try:
            return self.read(text)
        except ValueError:
            raise self._refusal() from None

    def _refusal(self) -> Problem:
        return bad_request(f"{self.name}: {self.sentence}", self.name)


_declared: dict[Any, tuple[DeclaredParameter, ...]] = {}


def declared_by(handler: BaseRouteHandler) -> tuple[DeclaredParameter, ...]:
    """Return the query parameters of a handler and of what it depends on, in the order of the signatures."""
    declared = _declared.get(handler.fn)
    if declared is None:
        declared = _declared[handler.fn] = tuple(_collect(handler, handler.parsed_fn_signature.parameters))
    return declared


def _collect(handler: BaseRouteHandler, fields: dict[str, FieldDefinition]) -> Iterator[DeclaredParameter]:
    providers = handler.resolve_dependencies()
    for name, field in fields.items():
        if name in providers:
            yield from _collect(handler, providers[name].parsed_fn_signature.parameters)
        elif isinstance(field.kwarg_definition, QueryParameter):
            yield _declare(field, field.kwarg_definition)


def _declare(field: FieldDefinition, bounds: ParameterKwarg) -> DeclaredParameter:
    sentence, read = _reader(_without_none(field.annotation), bounds)
    return DeclaredParameter(
        bounds.name or field.name, bounds.description or sentence, not field.has_default, read
    )


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in {Union, UnionType}:
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        if len(kinds) != 1:
            raise TypeError(f"a query parameter has one type, not {annotation}")
        return kinds[0]
    return annotation


def _reader(kind: Any, bounds: ParameterKwarg) -> tuple[str, Callable[[str], str]]:
    """Return what a refusal says of values of this kind, and how such a value is read."""
    if get_origin(kind) is Literal:
        return _choice([str(value) for value in get_args(kind)])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _choice([str(member.value) for member in kind])
    if kind not in _READERS:
        raise TypeError(f"no query parameter can be read as {kind}")
    return _READERS[kind](bounds)


def _choice(values: list[str]) -> tuple[str, Callable[[str], str]]:
    def read(text: str) -> str:
        if text not in values:
            raise ValueError(text)
        return text

    if len(values) == 1:
        return f"only {values[0]}", read
    return f"one of {', '.join(values)}", read


def _whole_number(bounds: ParameterKwarg) -> tuple[str, Callable[[str], str]]:
    least, most = _bounds(bounds)

    def read(text: str) -> str:
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) + 2):
            raise ValueError(text)
        if not least <= int(text) <= most:
            raise ValueError(text)
        return str(int(text))

    return f"a whole number from {least} to {most}", read


def _number(bounds: ParameterKwarg) -> tuple[str, Callable[[str], str]]:
    least, most = _bounds(bounds)

    def read(text: str) -> str:
        value = float(text[:MAX_NUMBER_CHARACTERS])
        if not least <= value <= most:
            raise ValueError(text)
        return repr(value)

    return f"a number from {least:g} to {most:g}", read


def _instant(_bounds: ParameterKwarg) -> tuple[str, Callable[[str], str]]:
    return "an instant such as 2027-01-31T00:00:00Z", lambda text: from_text(text).isoformat()


def _flag(_bounds: ParameterKwarg) -> tuple[str, Callable[[str], str]]:
    return _choice(["true", "false"])


def _bounds(bounds: ParameterKwarg) -> tuple[float, float]:
    if bounds.ge is None or bounds.le is None:
        raise TypeError("a number in the query needs bounds: ge and le")
    return bounds.ge, bounds.le


def _text(bounds: ParameterKwarg) -> tuple[str, Callable[[str], str]]:
    least, most = bounds.min_length or 0, bounds.max_length

    def read(text: str) -> str:
        if len(text) < least or (most is not None and len(text) > most):
            raise ValueError(text)
        return text

    return (f"{least} to {most} characters" if most is not None else f"at least {least} characters"), read


_READERS: dict[Any, Callable[[ParameterKwarg], tuple[str, Callable[[str], str]]]] = {
    bool: _flag,
    datetime: _instant,
    float: _number,
    int: _whole_number,
    str: _text,
}
