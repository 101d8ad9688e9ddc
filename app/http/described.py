"""What the OpenAPI document says of handlers whose signature cannot say it: prepared bytes and file transfers.

Their answers leave as they were prepared, so the type of `data` is given to the route decorator:

    @get("/api/atr-rules/live", **described(list[LiveRule], conditional=True, opt={"guard": PARTNERS}))
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JSON_TYPE = "application/json"
FILE_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Described:
    """The type of `data` (of the whole answer, where that is not JSON), and what of the request the handler reads.

    `query` names types of parameters, `body` is the type of a body of media type `accepts`. A `conditional` answer
    has validators: the request may name them, and 304 may follow.
    """

    data: Any
    media: str = JSON_TYPE
    query: Mapping[str, Any] | None = None
    body: Any = None
    accepts: str = JSON_TYPE
    conditional: bool = False


def described(data: Any, *, opt: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return the arguments of a route decorator that describe its handler; `more` are members of `Described`."""
    return {"opt": {**(opt or {}), "described": Described(data, **more)}}
