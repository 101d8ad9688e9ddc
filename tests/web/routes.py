"""Every route of the product, read off the application itself."""

import re
from dataclasses import dataclass
from typing import Any

from app.access.principal import Role
from app.config import Config
from app.web.application import create_application
from app.web.openapi import document_of, guard_of, operations


@dataclass(frozen=True)
class Operation:
    """One method of one path; `roles` may call it, the other three say that policy may admit somebody else too."""

    method: str
    path: str
    roles: frozenset[Role]
    reader: bool
    reporter: bool
    monitor: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def filled(self) -> str:
        """The path with an id in it that names nothing."""
        return re.sub(r"\{[^}]*\}", "99999999", self.path)


@dataclass(frozen=True)
class Promise:
    """What the OpenAPI document promises of one operation, as far as tests of all of them ask."""

    takes_body: bool
    takes_file: bool
    takes_query: bool
    is_enveloped: bool


def all_promises() -> dict[str, Promise]:
    """`METHOD path` and its promise, in the order of the document."""
    document = document_of(create_application(Config()).litestar)
    return {
        f"{method.upper()} {path}": _promise(operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def _promise(operation: dict[str, Any]) -> Promise:
    body = operation.get("requestBody")
    ((_, success), *_) = operation["responses"].items()
    ((_, content), *_) = success["content"].items()
    return Promise(
        takes_body=body is not None,
        takes_file=body is not None and "application/octet-stream" in body["content"],
        takes_query=any(parameter["in"] == "query" for parameter in operation["parameters"]),
        is_enveloped="request_id" in content["schema"].get("properties", ()),
    )


def all_operations() -> list[Operation]:
    """Every route but the description's own."""
    found = []
    for method, path, handler in operations(create_application(Config()).litestar):
        guard = guard_of(handler)
        found.append(Operation(method, path, guard.roles, guard.reader, guard.reporter, guard.monitor))
    return found
