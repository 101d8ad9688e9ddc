"""OPTIONS for every path, told apart from Litestar's own: that names the methods of one handler only.

Measured on Litestar 2.25: where several handlers share a path, the answer is made when the first is registered.
"""

from collections import defaultdict
from collections.abc import Iterable

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from app.access.guards import public


def options_handlers(handlers: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """One handler for each path of `handlers`; register them first, so that no other is made."""
    methods: defaultdict[str, set[str]] = defaultdict(lambda: {"OPTIONS"})
    for handler in handlers:
        for path in handler.paths:
            methods[path] |= handler.http_methods
            if "GET" in handler.http_methods:
                methods[path].add("HEAD")
    return [_options(path, ", ".join(sorted(allowed))) for path, allowed in methods.items()]


def _options(path: str, allowed: str) -> HTTPRouteHandler:
    async def options() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": allowed})

    return HTTPRouteHandler(
        path, http_method="OPTIONS", status_code=204, guards=[public()], include_in_schema=False
    )(options)
