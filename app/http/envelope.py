"""The envelope around every JSON answer (design: `ok`, `data`, `meta`, `request_id`)."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from app.http.problem import Problem

AnyRequest = Request[Any, Any, State]
JSON = "application/json; charset=utf-8"
T = TypeVar("T")
_NOT_KEPT = {"Cache-Control": "no-store"}
_encoder = msgspec.json.Encoder()


class Answer(Response[T]):
    """A success in its envelope: `{"ok": true, "data": ..., "meta": ..., "request_id": ...}`, never cached.

    This is the `response_class` of the application, so what a handler returns becomes `data`. A handler returns an
    `Answer` itself where `meta` or the status depends on what was found.
    """

    def __init__(
        self,
        content: T,
        *,
        meta: Mapping[str, Any] | None = None,
        status_code: int | None = None,
        **more: Any,
    ) -> None:
        super().__init__(content, status_code=status_code, **more)
        self.meta = meta

    def to_asgi_response(  # type: ignore[override]
        self, *, request: AnyRequest, status_code: int | None = None, **_more: Any
    ) -> ASGIResponse:
        """Encode the whole answer in one pass; `status_code` is the handler's own, if this answer has none."""
        body: dict[str, Any] = {"ok": True, "data": self.content}
        if self.meta is not None:
            body["meta"] = self.meta
        body["request_id"] = request_id(request)
        return ASGIResponse(
            body=_encoder.encode(body),
            headers=_NOT_KEPT,
            media_type=JSON,
            status_code=self.status_code or status_code,
        )


def refusal(request_identity: str, problem: Problem) -> Response[bytes]:
    """Return a failure: `{"ok": false, "error": ..., "detail": ..., "request_id": ...}`."""
    return Response(
        encode_refusal(request_identity, problem),
        status_code=problem.status,
        media_type=JSON,
        headers={"Cache-Control": "no-store", **problem.headers},
    )


def encode_refusal(request_identity: str, problem: Problem) -> bytes:
    """Return the body of a failure; `detail` is left out when there is none."""
    body: dict[str, Any] = {"ok": False, "error": problem.error}
    if problem.detail is not None:
        body["detail"] = problem.detail
    body["request_id"] = request_identity
    return _encoder.encode(body)


def request_id(request: AnyRequest) -> str:
    """Return the id that the edge gave this request; also in `X-Request-Id` and in the log."""
    identity: str = request.scope["state"].get("request_id", "")
    return identity
