"""How every refusal and defect becomes an enveloped answer."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from app.http.envelope import refusal, request_id
from app.http.problem import Problem, bad_request
from app.sandbox import SandboxClosed
from app.storage import StorageUnavailable

E = TypeVar("E", bound=Exception)
ErrorHandler = Callable[[Request[Any, Any, Any], E], Response[bytes]]
log = logging.getLogger(__name__)

_SENTENCES = {
    404: "There is no such path.",
    405: "This path does not take that method; see the Allow header.",
    413: "The body is larger than this server takes.",
}


def on_problem(request: Request[Any, Any, Any], error: Problem) -> Response[bytes]:
    """Return a refusal raised on purpose."""
    return refusal(request_id(request), error)


def refused_as(problem_of: Callable[[E], Problem]) -> ErrorHandler[E]:
    """Return the handler of a family of errors whose capability says in HTTP what each of them means."""

    def on_error(request: Request[Any, Any, Any], error: E) -> Response[bytes]:
        return refusal(request_id(request), problem_of(error))

    return on_error


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Return a refusal by the framework: the same envelope, none of its words where they say nothing to a client."""
    if error.status_code >= 500:
        return on_defect(request, error)
    headers = {name.title(): value for name, value in (error.headers or {}).items()}
    if "GET" in headers.get("Allow", "") and "HEAD" not in headers["Allow"]:
        headers["Allow"] += ", HEAD"
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        return refusal(request_id(request), _invalid_parameter(error.extra[0]))
    sentence = _SENTENCES.get(error.status_code, error.detail)
    return refusal(request_id(request), Problem(error.status_code, sentence, headers=headers))


def on_storage_unavailable(request: Request[Any, Any, Any], error: StorageUnavailable) -> Response[bytes]:
    """Nothing was kept, and the client may try again."""
    log.error("storage unavailable: %s", error, extra={"request_id": request_id(request)})
    problem = Problem(
        503, "The database cannot take this now; nothing was kept. Try again.", headers={"Retry-After": "30"}
    )
    return refusal(request_id(request), problem)


def on_sandbox_closed(request: Request[Any, Any, Any], _error: SandboxClosed) -> Response[bytes]:
    """Return the server stops; nothing was kept, and the client may try again."""
    problem = Problem(
        503, "The server is stopping; nothing was kept. Try again.", headers={"Retry-After": "5"}
    )
    return refusal(request_id(request), problem)


def on_defect(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Return a defect of ours: logged whole, told to the client as an id only."""
    log.error("request failed", exc_info=error, extra={"request_id": request_id(request)})
    return refusal(request_id(request), Problem(500, "Internal error; the log has it under this request_id."))


def _invalid_parameter(found: dict[str, Any]) -> Problem:
    """Return what is wrong with a part of the path, as the framework found it: `{"key": ..., "message": ...}`."""
    field, what = str(found.get("key", "path")), str(found.get("message", "is not valid"))
    return bad_request(f"{field}: {what[0].lower()}{what[1:]}", field)
