"""The OpenAPI 3.1 description of every route, built from the routes, their guards and the table of contracts.

Litestar's own generator is not used: it would describe what handlers declare, and they read their bodies
themselves; it also answers unknown paths beside the description with a page of HTML.
"""

from collections.abc import Iterator, Sequence
from inspect import getdoc
from typing import Any

import msgspec
from litestar import Litestar, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from app import __version__
from app.access.guards import Guard, public
from app.http.envelope import AnyRequest
from app.web.api_contract import CONTRACTS, JSON, PATH_PARAMETERS, Contract

PATH = "/api/openapi/openapi.json"
_REFUSAL = {
    "type": "object",
    "description": "`error` is a sentence or a stable code; `detail` names the field where there is one.",
    "required": ["ok", "error", "request_id"],
    "properties": {
        "ok": {"const": False},
        "error": {"type": "string"},
        "detail": {},
        "request_id": {"type": "string"},
    },
}
_CONDITIONAL = ("If-None-Match", "If-Modified-Since")


@get(PATH, guards=[public()])
async def show_description(request: AnyRequest) -> Response[bytes]:
    """This description; without our envelope, since OpenAPI fixes its shape."""
    state = request.app.state
    if "api_description" not in state:
        state["api_description"] = msgspec.json.encode(describe(request.app))
    return Response(
        state["api_description"], media_type=JSON, headers={"Cache-Control": "public, max-age=300"}
    )


def guard_of(handler: HTTPRouteHandler) -> Guard:
    """What a route demands of its caller; raises `ValueError` for a handler without exactly one guard."""
    named = [*handler.resolve_guards(), handler.opt.get("guard")]
    (guard,) = (guard for guard in named if isinstance(guard, Guard))
    return guard


def operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """`(method, path, handler)` of every route but this one, by path and method; Litestar's OPTIONS are left out.

    Litestar itself keeps the paths and methods of a handler in sets, which have another order in each process.
    """
    for route in sorted(app.routes, key=lambda route: route.path):
        if isinstance(route, HTTPRoute) and route.path != PATH:
            for method, (handler, _) in sorted(route.route_handler_map.items()):
                if method != "OPTIONS":
                    yield method, route.path_format, handler


def describe(app: Litestar) -> dict[str, Any]:
    """The whole document; raises `KeyError` for a route that no contract describes."""
    schemas = _Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for method, path, handler in operations(app):
        contract = CONTRACTS[f"{method} {path}"]
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, handler, contract, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Threat Cloud, private instance", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"Refusal": _REFUSAL, **schemas.components},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


class _Schemas:
    """JSON schemas of Python types; those with a name become components."""

    def __init__(self) -> None:
        kinds = dict.fromkeys(_kinds())
        schemas, self.components = msgspec.json.schema_components(
            kinds, ref_template="#/components/schemas/{name}"
        )
        self._by_kind = dict(zip(kinds, schemas, strict=True))

    def __getitem__(self, kind: Any) -> dict[str, Any]:
        if kind is bytes:  # of a whole body; msgspec speaks of bytes inside JSON
            return {"type": "string", "format": "binary"}
        schema: dict[str, Any] = self._by_kind[kind]
        return schema


def _kinds() -> Iterator[Any]:
    yield from PATH_PARAMETERS.values()
    for contract in CONTRACTS.values():
        yield contract.data
        yield from contract.query.values()
        if contract.body is not None:
            yield contract.body


def _operation(
    method: str, path: str, handler: HTTPRouteHandler, contract: Contract, schemas: _Schemas
) -> dict[str, Any]:
    guard = guard_of(handler)
    text = getdoc(handler.fn) or ""
    summary, _, more = text.partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": "-".join(
            [method.lower(), *path.replace("{", "").replace("}", "").strip("/").split("/")]
        ),
        "summary": " ".join(summary.split()),
        "parameters": [*_parameters(path, contract, schemas)],
        "responses": _responses(contract, schemas),
        "security": _security(guard),
    }
    roles = sorted(guard.roles)
    who = f"Roles: {', '.join(roles)}." if roles and not guard.reader else ""
    if description := "\n\n".join(filter(None, [more, who])):
        operation["description"] = description
    if contract.body is not None:
        content = {contract.accepts: {"schema": schemas[contract.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(path: str, contract: Contract, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    for name, kind in PATH_PARAMETERS.items():
        if f"{{{name}}}" in path:
            yield {"name": name, "in": "path", "required": True, "schema": schemas[kind]}
    for name, kind in contract.query.items():
        yield {"name": name, "in": "query", "schema": schemas[kind]}
    if contract.is_conditional:
        for name in _CONDITIONAL:
            yield {"name": name, "in": "header", "schema": {"type": "string"}}


def _responses(contract: Contract, schemas: _Schemas) -> dict[str, Any]:
    schema = schemas[contract.data]
    if contract.is_enveloped:
        schema = {
            "type": "object",
            "required": ["ok", "data", "request_id"],
            "properties": {
                "ok": {"const": True},
                "data": schema,
                "meta": {"type": "object"},
                "request_id": {"type": "string"},
            },
        }
    content = {contract.media: {"schema": schema}}
    responses: dict[str, Any] = {
        str(status): {"description": _MEANINGS[status], "content": content} for status in contract.status
    }
    if contract.is_conditional:
        responses["304"] = {"description": "Nothing is new; there is no body."}
    refusal = {JSON: {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    return responses | {"default": {"description": "Refused", "content": refusal}}


_MEANINGS = {200: "Done", 201: "Made", 202: "Started"}


def _security(guard: Guard) -> Sequence[dict[str, list[str]]]:
    if not guard.roles:
        return []
    return [{"key": []}, {}] if guard.by_policy else [{"key": []}]
