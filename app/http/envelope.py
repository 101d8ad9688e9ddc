"""The envelope around every JSON answer (design: `ok`, `data`, `meta`, `request_id`)."""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.datastructures import State

from app.http.problem import Problem

AnyRequest = Request[Any, Any, State]
JSON = "application/json; charset=utf-8"
_encoder = msgspec.json.Encoder()


def answer(
    request: AnyRequest, data: Any = None, *, meta: dict[str, Any] | None = None, status: int = 200
) -> Response[bytes]:
    """A success: `{"ok": true, "data": ..., "meta": ..., "request_id": ...}`, never cached by anybody."""
    body: dict[str, Any] = {"ok": True, "data": data}
    if meta is not None:
        body["meta"] = meta
    body["request_id"] = request_id(request)
    return Response(
        _encoder.encode(body), status_code=status, media_type=JSON, headers={"Cache-Control": "no-store"}
    )


def refusal(request_identity: str, problem: Problem) -> Response[bytes]:
    """A failure: `{"ok": false, "error": ..., "detail": ..., "request_id": ...}`."""
    return Response(
        encode_refusal(request_identity, problem),
        status_code=problem.status,
        media_type=JSON,
        headers={"Cache-Control": "no-store", **problem.headers},
    )


def encode_refusal(request_identity: str, problem: Problem) -> bytes:
    """The body of a failure; `detail` is left out when there is none."""
    body: dict[str, Any] = {"ok": False, "error": problem.error}
    if problem.detail is not None:
        body["detail"] = problem.detail
    body["request_id"] = request_identity
    return _encoder.encode(body)


def request_id(request: AnyRequest) -> str:
    """The id that the edge gave this request; also in `X-Request-Id` and in the log."""
    identity: str = request.scope["state"].get("request_id", "")
    return identity
