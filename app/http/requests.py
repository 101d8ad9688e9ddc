"""`StrictRequest`: the request whose JSON body and query are read without trusting them.

Litestar reads bodies and queries leniently: it takes a repeated key, a lone surrogate and `"7"` for a 7, and
`status=null` for no status at all. Handlers declare what they take; this class makes the declaration hold as written.
"""

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.enums import RequestEncodingType
from litestar.params import BodyKwarg, SkipValidationMarker
from litestar.typing import FieldDefinition

from app.http.body import parse_json, validation_problem
from app.http.envelope import AnyRequest
from app.http.parameters import declared_by
from app.http.problem import bad_request
from app.http.tolerant import batch_of, one_of

T = TypeVar("T")

JsonBody = Annotated[T, BodyKwarg(media_type=RequestEncodingType.JSON), SkipValidationMarker()]
"""A body that is what it says: `data: JsonBody[NewProposal]`. Litestar gets it whole, so does not check it."""


@dataclass(frozen=True)
class TolerantKwarg(BodyKwarg):
    """A body that real clients send as a report, read as `app.http.tolerant` says.

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
