"""The description of routes whose handlers still read requests themselves, from the table of contracts."""

from collections.abc import Iterator, Sequence
from inspect import getdoc
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from app.access.guards import Guard
from app.web.api_contract import CONTRACTS, JSON, PATH_PARAMETERS, Contract

_CONDITIONAL = ("If-None-Match", "If-Modified-Since")


def describe_by_table(app: Litestar) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the operations of routes in the table, and the components that they refer to."""
    schemas = _Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for route in app.routes:
        for method, (handler, _) in getattr(route, "route_handler_map", {}).items():
            path = route.path_format
            if f"{method} {path}" in CONTRACTS:
                contract = CONTRACTS[f"{method} {path}"]
                paths.setdefault(path, {})[method.lower()] = _operation(
                    method, path, handler, contract, schemas
                )
    return paths, {f"table.{name}": schema for name, schema in schemas.components.items()}


def _guard_of(handler: HTTPRouteHandler) -> Guard:
    named = [*handler.resolve_guards(), handler.opt.get("guard")]
    (guard,) = (guard for guard in named if isinstance(guard, Guard))
    return guard


class _Schemas:
    """JSON schemas of Python types; those with a name become components."""

    def __init__(self) -> None:
        kinds = dict.fromkeys(_kinds())
        schemas, self.components = msgspec.json.schema_components(
            kinds, ref_template="#/components/schemas/table.{name}"
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
    guard = _guard_of(handler)
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
