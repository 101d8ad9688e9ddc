"""A stand-in for an npm registry: the package of the official rules, from the cache, and what was asked for."""

import json
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Self

from tests.npm_pack import fetch, kept
from tests.published import INTEGRITY, PACKAGE

NAME, VERSION = PACKAGE.split("@")
FILE = f"{NAME}-{VERSION}.tgz"


class Registry:
    """Like a company's mirror it repeats where the original has the tarball, on a host that it is not.

    Use it as a context manager; `asked` are the paths in the order in which they were asked for. While it is not
    `is_open`, every answer is 503.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.asked: list[str] = []
        self.is_open = True
        self._server = _Server((host, 0), _handler(self))
        self.port: int = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        published_package()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, media type and body for a path."""
        self.asked.append(path)
        if not self.is_open:
            return 503, "application/json", b'{"error":"not now"}'
        if path == f"/{NAME}":
            return 200, "application/json", json.dumps(packument()).encode()
        if path == f"/{NAME}/-/{FILE}":
            return 200, "application/octet-stream", published_package()
        return 404, "application/json", b'{"error":"not found"}'


def packument() -> dict[str, Any]:
    """What a registry says of the package, as short as it can be said."""
    tarball = f"https://original.invalid/{NAME}/-/{FILE}"
    dist = {"tarball": tarball, "integrity": f"sha512-{INTEGRITY}"}
    version = {"name": NAME, "version": VERSION, "dist": dist}
    return {"name": NAME, "dist-tags": {"latest": VERSION}, "versions": {VERSION: version}}


@cache
def published_package() -> bytes:
    """The package's tarball, fetched the first time."""
    return kept(FILE, lambda work: fetch(PACKAGE, INTEGRITY, work / "package")).read_bytes()


class _Server(ThreadingMixIn, TCPServer):
    """`http.server` has a class like it, which asks a name server for the name of its own address."""

    daemon_threads = True


def _handler(registry: Registry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, media, body = registry.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
