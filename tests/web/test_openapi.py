"""The OpenAPI document of the whole product, as the standard wants it and as clients of any language can use it."""

import importlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from enum import Enum
from pkgutil import walk_packages
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import app
from app.config import Config
from app.web.application import create_application
from app.web.openapi import document_of
from tests.server import Server


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(json.dumps(document_of(create_application(Config()).litestar)))  # type: ignore[no-any-return]


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_patterns_are_of_ecma(document: dict[str, Any]) -> None:
    """`\\Z` means the letter Z to every reader but Python."""
    assert "\\Z" not in json.dumps(document).replace("\\\\", "\\")


def test_every_operation_has_an_id_of_its_own(document: dict[str, Any]) -> None:
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] for operation in operations)


def test_every_answer_is_described(document: dict[str, Any]) -> None:
    """A type that the generator did not understand would be described by nothing."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, response in operation["responses"].items():
                for media in response.get("content", {}).values():
                    schema = media["schema"]
                    assert schema.get("properties", {}).get("data", schema) != {}, (method, path, status)


def test_every_type_has_a_name_of_its_own(document: dict[str, Any]) -> None:
    """Of two types with one name msgspec writes the second as `app.rules.routes.Name`, and generators refuse it."""
    schemas = document["components"]["schemas"]
    assert [name for name in schemas if not name.isidentifier()] == []
    for name, schema in schemas.items():
        assert schema.get("title", name) == name


def test_every_type_of_the_product_has_a_name_of_its_own() -> None:
    """Also those that the document does not show (yet)."""
    for module in walk_packages(app.__path__, "app."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    where = defaultdict(set)
    for kind in [*_derived_from(msgspec.Struct), *_derived_from(Enum)]:
        if kind.__module__.startswith("app."):
            where[kind.__name__].add(f"{kind.__module__}.{kind.__qualname__}")
    assert len(where) > 200
    assert [places for places in where.values() if len(places) > 1] == []


def _derived_from(kind: type[Any]) -> Iterator[type[Any]]:
    for derived in kind.__subclasses__():
        yield derived
        yield from _derived_from(derived)


def test_every_list_says_of_what(document: dict[str, Any]) -> None:
    """`list[Any]` is valid, and useless to a reader."""
    assert [node for node in _nodes(document) if node.get("type") == "array" and not node.get("items")] == []


def test_what_http_negotiates_is_no_parameter(document: dict[str, Any]) -> None:
    """OpenAPI has readers pass over these headers among the parameters."""
    headers = {node["name"] for node in _nodes(document) if node.get("in") == "header" and "schema" in node}
    assert headers == {"If-None-Match", "If-Modified-Since", "X-Panguard-Client-Id"}


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for below in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _nodes(below)


def test_the_page_shows_the_document_and_loads_nothing_from_elsewhere(
    document: dict[str, Any], server: Server
) -> None:
    with server.client() as nobody:
        page = nobody.get("/api/openapi")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        loaded = re.findall(r"""(?:src|href)="([^"#]+)""", page.text)
        assert sorted(set(loaded)) == ["/api/openapi/api.css", "/api/openapi/openapi.json"]
        assert not re.search(r"<script|<style|style=|onclick", page.text)
        for target in loaded:
            assert nobody.get(target).status_code == 200
        assert nobody.get("/api/openapi/api.css").headers["content-type"] == "text/css; charset=utf-8"
    for methods in document["paths"].values():
        for operation in methods.values():
            assert f'id="{operation["operationId"]}"' in page.text
    ids = set(re.findall(r'id="([^"]+)"', page.text))
    assert set(re.findall(r'href="#([^"]+)"', page.text)) <= ids
