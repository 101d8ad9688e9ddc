"""The baseline: the least that Litestar can do, a 304 without a key, on the product's own gunicorn settings."""

from typing import Any

from litestar import Litestar, Response, get

from app.web.server import Server
from app.web.supervision.notify import NOBODY


@get("/304", sync_to_thread=False)
def not_modified() -> Response[None]:
    """Answer 304 and one header."""
    return Response(None, status_code=304, headers={"ETag": 'W/"1"'})


class BareServer(Server):
    """The product's server with another application in it."""

    def load(self) -> Any:
        """Build the bare application."""
        return Litestar([not_modified], openapi_config=None, logging_config=None)


if __name__ == "__main__":
    import os

    from app.config import load_config

    BareServer(lambda: load_config(None, os.environ), NOBODY).run()
