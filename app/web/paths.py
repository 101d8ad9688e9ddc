"""Which spellings of a path mean the same route (measured: what real clients and documents use)."""

import re

_PREFIXES = ("/api/v1/", "/v1/api/", "/api/api/")
_SLASHES = re.compile(r"/{2,}")
_ORIGIN = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*")


def canonical_path(path: str) -> str:
    """Fold doubled slashes, a trailing slash and the prefixes `/v1`, `/api/v1`, `/api/api` away.

    Stock Guards build URLs by joining strings, so an endpoint that ends in `/` or `/api` asks for
    `//api/...` or `/api/api/...`; the public documents say `/api/v1/...`, its server `/v1/api/...`. A client
    of a proxy names the whole URL (RFC 9112 3.2.2); its origin is ours, or the request would not be here.
    """
    if not path.startswith("/"):
        path = _ORIGIN.sub("", path, count=1) or "/"
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if len(path) > 1 and path.endswith("/"):
        path = path.rstrip("/") or "/"
    for prefix in _PREFIXES:
        if path.startswith(prefix):
            return "/api/" + path[len(prefix) :]
    if path in {"/v1/health", "/v1/ready"}:
        return path[3:]
    return path
