"""Every route of the product, read off the application itself."""

import re
from dataclasses import dataclass

from app.access.principal import Role
from app.config import Config
from app.web.api_description import guard_of, operations
from app.web.application import create_application


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


def all_operations() -> list[Operation]:
    """Every route but the description's own."""
    found = []
    for method, path, handler in operations(create_application(Config()).litestar):
        guard = guard_of(handler)
        found.append(Operation(method, path, guard.roles, guard.reader, guard.reporter, guard.monitor))
    return found
