"""The OpenAPI 3.1 document of every route: what Litestar reads off the handlers, and what it cannot know.

Litestar finds parameters, bodies and answers in the signatures; msgspec, which reads and writes these types, gives
their schemas. `_complete` adds what holds for all handlers alike: the envelope, the refusal, who may call, and
docstrings as descriptions. Handlers of prepared bytes are `described` by their decorator.
"""

import re
from collections.abc import Iterator, Sequence
from inspect import cleandoc, getdoc
from typing import Any, get_args, get_origin

import msgspec
from litestar import Litestar, Response, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Schema, SecurityScheme
from litestar.params import ParameterKwarg
from litestar.plugins import OpenAPISchemaPlugin
from litestar.routes import HTTPRoute
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition
from litestar.typing import FieldDefinition

from app import __version__
from app.access.route_guards import Guard, public
from app.http.described import JSON_TYPE, Described
from app.http.envelope import JSON, Answer, AnyRequest
from app.http.requests import Batch, TolerantKwarg

PATH = "/api/openapi/openapi.json"
Json = dict[str, Any]

_REFUSAL: Json = {
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
_REFUSED: Json = {
    "description": "Refused",
    "content": {JSON_TYPE: {"schema": {"$ref": "#/components/schemas/Refusal"}}},
}
_NO_DATA: Json = {JSON_TYPE: {"schema": {"type": "null"}}}
_NOT_MODIFIED: Json = {"description": "Nothing is new; there is no body."}
_CONDITIONAL = [
    {"name": name, "in": "header", "schema": {"type": "string"}}
    for name in ("If-None-Match", "If-Modified-Since")
]
_NOT_PARAMETERS = frozenset({"accept", "authorization", "content-type"})
"""Headers that OpenAPI describes elsewhere: it has readers pass over a parameter of this name."""
_MEANINGS = {200: "Done", 201: "Made", 202: "Started"}


@get(PATH, guards=[public()], include_in_schema=False)
async def show_document(request: AnyRequest) -> Response[bytes]:
    """Return this document, without our envelope, since OpenAPI fixes its shape."""
    state = request.app.state
    if "api_document" not in state:
        state["api_document"] = msgspec.json.encode(document_of(request.app))
    return Response(state["api_document"], media_type=JSON, headers={"Cache-Control": "public, max-age=300"})


def guard_of(handler: HTTPRouteHandler) -> Guard:
    """Return what a route demands of its caller; raise `ValueError` for a handler without exactly one guard."""
    named = [*handler.resolve_guards(), handler.opt.get("guard")]
    (guard,) = (guard for guard in named if isinstance(guard, Guard))
    return guard


def operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Yield `(method, path, handler)` of every route in the document, by path and method.

    Litestar itself keeps the paths and methods of a handler in sets, which have another order in each process.
    """
    for route in sorted(app.routes, key=lambda route: route.path):
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in sorted(route.route_handler_map.items()):
                if handler.resolve_include_in_schema() and method != "OPTIONS":
                    yield method, route.path_format, handler


def openapi_options() -> dict[str, Any]:
    """Return the arguments of `Litestar` that make it collect the document, and serve none of its own pages."""
    return {
        "plugins": [_SchemasOfTypes()],
        "openapi_config": OpenAPIConfig(
            title="Threat Cloud, private instance",
            version=__version__,
            components=Components(
                security_schemes={"key": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
            ),
            operation_id_creator=_operation_id,
            openapi_router=_NoPages("/api/openapi", route_handlers=[]),
            render_plugins=[JsonRenderPlugin()],
        ),
    }


def document_of(app: Litestar) -> Json:
    """Return the whole document."""
    (schemas,) = (plugin for plugin in app.plugins.openapi if isinstance(plugin, _SchemasOfTypes))
    handlers = list(operations(app))
    for _, _, handler in handlers:
        schemas.note(*_types_unknown_to_litestar(handler))
    document = app.openapi_schema.to_schema()
    paths: dict[str, Json] = {}
    for method, path, handler in handlers:
        operation = document["paths"][path][method.lower()]
        paths.setdefault(path, {})[method.lower()] = _complete(operation, handler, schemas)
    components = {"Refusal": _REFUSAL, **schemas.components}
    document["paths"] = paths
    document["components"]["schemas"] = components
    del document["servers"]
    ecma: Json = _as_ecma(document)
    return ecma


def _operation_id(
    _handler: HTTPRouteHandler, method: Method, components: list[str | PathParameterDefinition]
) -> str:
    parts = [part if isinstance(part, str) else part.name for part in components]
    return "-".join([str(method).lower().rpartition(".")[2], *parts])


class _NoPages(Router):
    """Where Litestar would put its pages of documentation, which load scripts from elsewhere."""

    def register(self, _value: Any) -> list[Any]:
        """Register nothing."""
        return []


class _SchemasOfTypes(OpenAPISchemaPlugin):
    """Schemas by msgspec for every type of every signature, named types once among the components."""

    def __init__(self) -> None:
        self._kinds: dict[Any, None] = {}
        self._known: tuple[dict[Any, Json], Json] | None = None

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Return False for unions, which Litestar must take apart: it has no name for one."""
        return not field_definition.is_union

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        """Return a schema that is resolved when the document is written: by then all types are known."""
        del schema_creator
        schema = _TypeSchema(self, self._kind_of(field_definition))
        if isinstance(field_definition.kwarg_definition, ParameterKwarg):
            schema.minimum = field_definition.kwarg_definition.ge  # Litestar passes over a bound of 0
        return schema

    def note(self, *kinds: Any) -> None:
        """Add types that the document will need."""
        self._kinds |= dict.fromkeys(kinds)
        self._known = None

    @property
    def components(self) -> Json:
        """The named types."""
        return self._resolve()[1]

    def __getitem__(self, kind: Any) -> Json:
        if kind is bytes:  # of a whole body; msgspec speaks of bytes inside JSON
            return {"type": "string", "format": "binary"}
        return self._resolve()[0][kind]

    def _resolve(self) -> tuple[dict[Any, Json], Json]:
        if self._known is None:
            kinds = list(self._kinds)
            schemas, components = msgspec.json.schema_components(
                kinds, ref_template="#/components/schemas/{name}"
            )
            self._known = dict(zip(kinds, schemas, strict=True)), components
        return self._known

    def _kind_of(self, field: FieldDefinition) -> Any:
        kind = field.raw if get_origin(field.annotation) is not Batch else field.annotation
        definition = field.kwarg_definition
        if isinstance(definition, TolerantKwarg) and definition.member is not None:
            kind = definition.described or _object_with_list(definition.member, get_args(field.annotation)[0])
        if kind is not bytes:
            try:
                msgspec.json.schema(kind)
            except TypeError:  # an ASGI application: its bytes are prepared, and `described`
                kind = Any
            self.note(kind)
        return kind


def _object_with_list(member: str, item: Any) -> type[msgspec.Struct]:
    return msgspec.defstruct(f"{item.__name__}Batch", [(member, list[item])])


class _TypeSchema(Schema):
    """The schema of a type, and what its declaration adds (bounds, a default, a description)."""

    def __init__(self, schemas: _SchemasOfTypes, kind: Any) -> None:
        super().__init__()
        self._schemas, self._kind = schemas, kind

    def to_schema(self) -> Json:
        """Return it as JSON."""
        added = super().to_schema()
        schema = self._schemas[self._kind]
        return {"allOf": [schema], **added} if "$ref" in schema and added else schema | added


def _types_unknown_to_litestar(handler: HTTPRouteHandler) -> Iterator[Any]:
    if (described := handler.opt.get("described")) is not None:
        kinds = [described.data, described.body, *(described.query or {}).values()]
        yield from (kind for kind in kinds if kind is not None and kind is not bytes)
    if (union := _union_body(handler)) is not None:
        yield union


def _union_body(handler: HTTPRouteHandler) -> Any:
    """Return the type of a body that is one of several, of which Litestar would lose what tells them apart."""
    data = handler.parsed_fn_signature.parameters.get("data")
    return data.annotation if data is not None and data.is_union else None


def _complete(operation: Json, handler: HTTPRouteHandler, schemas: _SchemasOfTypes) -> Json:
    """Return an operation of Litestar's with what it does not know of ours, in the order of keys that people read."""
    guard, described = guard_of(handler), handler.opt.get("described")
    text = getdoc(handler.fn) or ""
    summary, _, more = text.partition("\n\n")
    roles = sorted(guard.roles)
    who = f"Roles: {', '.join(roles)}." if roles and not guard.reader else ""
    completed: Json = {
        "operationId": operation["operationId"],
        "summary": " ".join(summary.split()),
        "parameters": [
            _parameter(found)
            for found in operation.get("parameters", [])
            if found["in"] != "header" or found["name"].lower() not in _NOT_PARAMETERS
        ],
        "responses": _responses(operation["responses"], handler),
        "security": _security(guard),
    }
    if description := "\n\n".join(filter(None, [more, who])):
        completed["description"] = description
    if "requestBody" in operation:
        completed["requestBody"] = operation["requestBody"]
    if (union := _union_body(handler)) is not None:
        completed["requestBody"]["content"] = {JSON_TYPE: {"schema": schemas[union]}}
    if described is not None:
        _describe(completed, described, handler, schemas)
    completed["responses"]["default"] = _REFUSED
    return completed


def _parameter(found: Json) -> Json:
    """Return a parameter without the members that say nothing; one that is not sent is no null."""
    said = {name: value for name, value in found.items() if value is not False and value is not None}
    return said | {"schema": _without_null(found["schema"])}


def _without_null(schema: Json) -> Json:
    if "oneOf" in schema:
        (kind,) = (kind for kind in schema["oneOf"] if kind != {"type": "null"})
        added = {name: value for name, value in schema.items() if name != "oneOf"}
        return {"allOf": [kind], **added} if "$ref" in kind and added else kind | added
    if None in schema.get("enum", ()):
        values = [value for value in schema["enum"] if value is not None]
        return {name: value for name, value in schema.items() if name != "type"} | {"enum": values}
    return schema


def _responses(found: Json, handler: HTTPRouteHandler) -> Json:
    statuses = sorted({handler.status_code, *(handler.responses or {})})
    return {
        str(status): _success(status, found[str(status)].get("content", _NO_DATA), _is_enveloped(handler))
        for status in statuses
    }


def _success(status: int, content: Json, is_enveloped: bool) -> Json:
    ((media, body),) = content.items()
    schema = _envelope(body["schema"]) if is_enveloped and media == JSON_TYPE else body["schema"]
    return {"description": _MEANINGS[status], "content": {media: {"schema": schema}}}


def _is_enveloped(handler: HTTPRouteHandler) -> bool:
    """Return True unless the handler returns a response of its own making."""
    returned = handler.parsed_fn_signature.return_type
    return returned.is_subclass_of(Answer) or not returned.is_subclass_of(Response)


def _envelope(data: Json) -> Json:
    return {
        "type": "object",
        "required": ["ok", "data", "request_id"],
        "properties": {
            "ok": {"const": True},
            "data": data,
            "meta": {"type": "object"},
            "request_id": {"type": "string"},
        },
    }


def _describe(
    completed: Json, described: Described, handler: HTTPRouteHandler, schemas: _SchemasOfTypes
) -> None:
    content = {described.media: {"schema": schemas[described.data]}}
    status = handler.status_code
    completed["responses"] = {str(status): _success(status, content, described.media == JSON_TYPE)}
    completed["parameters"] += [
        {"name": name, "in": "query", "schema": schemas[kind]}
        for name, kind in (described.query or {}).items()
    ]
    if described.conditional:
        completed["parameters"] += _CONDITIONAL
        completed["responses"]["304"] = _NOT_MODIFIED
    if described.body is not None:
        body = {described.accepts: {"schema": schemas[described.body]}}
        completed["requestBody"] = {"required": True, "content": body}


def _security(guard: Guard) -> Sequence[dict[str, list[str]]]:
    if not guard.roles:
        return []
    return [{"key": []}, {}] if guard.by_policy else [{"key": []}]


def _as_ecma(node: Any) -> Any:
    r"""Return the document as readers of other languages have it.

    ECMA 262 ends a text with `$`, Python with `\Z`; descriptions lose the indentation that docstrings have.
    """
    if isinstance(node, dict):
        return {name: _member_as_ecma(name, value) for name, value in node.items()}
    if isinstance(node, list):
        return [_as_ecma(value) for value in node]
    return node


def _member_as_ecma(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return _as_ecma(value)
    if name == "pattern":
        return re.sub(r"\\Z$", "$", value)
    return cleandoc(value) if name == "description" else value
