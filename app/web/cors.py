"""Which web pages' scripts may read the answers (the Fetch standard's CORS protocol): none unless configured.

No cookie is ever involved, so nothing here needs credentials: keys are sent by the script itself.
"""

from collections.abc import Iterable, Mapping

METHODS = b"GET, HEAD, POST, PATCH, DELETE"
REQUEST_HEADERS = b"Authorization, Content-Type, If-None-Match, If-Modified-Since, X-Panguard-Client-Id"
ANSWER_HEADERS = (
    b"ETag, Retry-After, Threatcloud-Freshness, X-Request-Id,"
    b" X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
)
PREFLIGHT_SECONDS = b"600"
Headers = tuple[tuple[bytes, bytes], ...]


class Cors:
    """What is added to an answer; made once, asked for each request."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def headers(self, method: str, sent: Mapping[str, str]) -> Headers:
        """Return the headers for an answer to this request.

        `Vary` is there for every caller, or a cache would hand the answer for one origin to another.
        """
        origin = sent.get("origin")
        if origin not in self._origins or origin is None:
            return ((b"vary", b"Origin"),)
        allowed = (b"access-control-allow-origin", origin.encode("latin-1"))
        if method == "OPTIONS" and "access-control-request-method" in sent:
            return (
                (b"vary", b"Origin"),
                allowed,
                (b"access-control-allow-methods", METHODS),
                (b"access-control-allow-headers", REQUEST_HEADERS),
                (b"access-control-max-age", PREFLIGHT_SECONDS),
            )
        return ((b"vary", b"Origin"), allowed, (b"access-control-expose-headers", ANSWER_HEADERS))
