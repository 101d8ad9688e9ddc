"""The OpenAPI document as a page for people: plain HTML without a script, and nothing loaded from elsewhere."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import msgspec
from litestar import Response, get

from app.access.route_guards import public
from app.http.envelope import AnyRequest
from app.web.openapi import document_of

Json = Mapping[str, Any]
PATH, STYLE_PATH = "/api/openapi", "/api/openapi/api.css"
HEADERS = {
    "Cache-Control": "public, max-age=300",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}

_ENVELOPE = (
    'A JSON answer is an envelope, <code>{"ok": true, "data": ..., "meta": ..., "request_id": "..."}</code>; '
    'below stands the type of its <code>data</code>. <a href="#type-Refusal">Refusal</a> is the answer to a '
    "request that is refused."
)


@get(PATH, guards=[public()], include_in_schema=False)
async def show_page(request: AnyRequest) -> Response[str]:
    """Show the document of this server; rendered once."""
    state = request.app.state
    if "api_page" not in state:
        state["api_page"] = render(document_of(request.app))
    return Response(state["api_page"], media_type="text/html", headers=HEADERS)


@get(STYLE_PATH, guards=[public()], include_in_schema=False)
async def show_style() -> Response[str]:
    """Show how the page looks."""
    return Response(_style(), media_type="text/css", headers=HEADERS)


@cache
def _style() -> str:
    return files("app.web").joinpath("assets/api.css").read_text("utf-8")


def render(document: Json) -> str:
    """Return the page."""
    groups: defaultdict[str, list[tuple[str, str, Json]]] = defaultdict(list)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups[_group_of(path)].append((path, method.upper(), operation))
    title = escape(document["info"]["title"])
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{title}: API</title><link rel="stylesheet" href="{STYLE_PATH}"></head><body>',
            f"<h1>{title} <small>{escape(document['info']['version'])}</small></h1>",
            f'<p>For machines: <a href="{PATH}/openapi.json">openapi.json</a>. {_ENVELOPE}</p>',
            '<nav aria-label="Groups of operations"><ul>',
            *(f'<li><a href="#{escape(name)}">{escape(name)}</a></li>' for name in sorted(groups)),
            '<li><a href="#types">types</a></li></ul></nav><main>',
            *(line for name in sorted(groups) for line in _group(name, groups[name])),
            '<h2 id="types">types</h2>',
            *(_component(name, schema) for name, schema in sorted(document["components"]["schemas"].items())),
            "</main></body></html>",
        ]
    )


def _group_of(path: str) -> str:
    """Return the first part of a path that says something: `atr-proposals`, `admin/keys`."""
    parts = path.strip("/").removeprefix("api/").split("/")
    return "/".join(parts[:2]) if parts[0] == "admin" else parts[0]


def _group(name: str, operations: Iterable[tuple[str, str, Json]]) -> Iterator[str]:
    yield f'<h2 id="{escape(name)}">{escape(name)}</h2>'
    for path, method, operation in operations:
        yield _operation(path, method, operation)


def _operation(path: str, method: str, operation: Json) -> str:
    lines = [
        f'<details id="{escape(operation["operationId"])}"><summary><span class="method">{method}</span> '
        f'<code>{escape(path)}</code> <span class="what">{_prose(operation["summary"])}</span></summary>',
        *(f"<p>{_prose(text)}</p>" for text in operation.get("description", "").split("\n\n") if text),
        f'<p>{_who(operation["security"])} <a href="#{escape(operation["operationId"])}">Link</a></p>',
    ]
    if operation["parameters"]:
        lines.append(_table("Parameters", (_parameter(found) for found in operation["parameters"])))
    if "requestBody" in operation:
        lines.append(_table("Body", _content(operation["requestBody"]["content"])))
    lines.append(_table("Answers", _answers(operation["responses"])))
    return "".join([*lines, "</details>"])


def _who(security: list[Json]) -> str:
    if not security:
        return "No key is needed."
    return "A key is needed, unless policy opens this." if {} in security else "A key is needed."


def _table(title: str, rows: Iterable[tuple[str, ...]]) -> str:
    cells = "".join(
        "<tr>" + f'<th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return f"<h3>{title}</h3><table>{cells}</table>"


def _parameter(found: Json) -> tuple[str, ...]:
    required = ", required" if found.get("required") else ""
    return f"<code>{escape(found['name'])}</code>", f"{found['in']}{required}", _kind(found["schema"])


def _content(content: Json) -> Iterator[tuple[str, ...]]:
    for media, described in content.items():
        yield f"<code>{escape(media)}</code>", _kind(described["schema"])


def _answers(responses: Json) -> Iterator[tuple[str, ...]]:
    for status, response in responses.items():
        kinds = []
        for described in response.get("content", {}).values():
            schema = described["schema"]
            kinds.append(_kind(schema.get("properties", {}).get("data", schema)))
        yield escape(status), _prose(response["description"]), ", ".join(kinds)


def _component(name: str, schema: Json) -> str:
    text = " ".join(schema.get("description", "").split())
    required = schema.get("required", ())
    rows = [
        (f"<code>{escape(member)}</code>", "" if member in required else "optional", _kind(kind))
        for member, kind in schema.get("properties", {}).items()
    ]
    shown = _table("Members", rows) if rows else f"<p>{_kind(schema)}</p>"
    return (
        f'<details id="type-{escape(name)}"><summary><code>{escape(name)}</code> '
        f'<span class="what">{_prose(text)}</span></summary>{shown}</details>'
    )


def _kind(schema: Json) -> str:
    """Return a schema in a few words, types linked."""
    bounds = (
        f"{words} <code>{escape(_value(schema[name]))}</code>" for name, words in _BOUNDS if name in schema
    )
    return " ".join([_unbounded(schema), *bounds])


def _unbounded(schema: Json) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#type-{name}">{name}</a>'
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_kind(kind) for kind in schema[several])
    if "enum" in schema or "const" in schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return ", ".join(f"<code>{escape(_value(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    return f'<span class="kind">{escape(str(schema.get("type", "anything")))}</span>'


def _value(value: Any) -> str:
    """Return a value as JSON has it; a text bare, unless it is empty."""
    return value if isinstance(value, str) and value else msgspec.json.encode(value).decode()


_BOUNDS = (
    ("format", ""),
    ("minimum", "from"),
    ("maximum", "to"),
    ("minLength", "length at least"),
    ("maxLength", "length at most"),
    ("minItems", "count at least"),
    ("maxItems", "count at most"),
    ("pattern", "matching"),
    ("default", "default"),
)
"""Members of a schema, and the words before their values."""


def _prose(text: str) -> str:
    """Return a sentence with its `code` marked up."""
    parts = escape(text, quote=False).split("`")
    if len(parts) % 2 == 0:
        return "`".join(parts)
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


page_handlers = [show_page, show_style]
