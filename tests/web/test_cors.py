"""Which web pages may read answers: none by default, and only the configured origins."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import ConfigError, load_config
from tests.server import Server

ORIGIN = "https://console.example"
PATHS = ["/health", "/api/atr-rules", "/api/stats", "/no/such/path", "/api/badge/a/b"]


@pytest.fixture(scope="module")
def friendly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("cors"), access_cors_origins=[ORIGIN, "http://[::1]:8080"]
    ) as running:
        yield running


@pytest.mark.parametrize("path", PATHS)
def test_by_default_no_page_may_read_anything(path: str, server: Server) -> None:
    with server.admin as admin:
        response = admin.get(path, headers={"Origin": ORIGIN})
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", PATHS)
def test_a_page_of_a_configured_origin_may_read_whatever_the_answer(path: str, friendly: Server) -> None:
    with friendly.client() as nobody:
        ours = nobody.get(path, headers={"Origin": ORIGIN})
        assert ours.headers["access-control-allow-origin"] == ORIGIN
        assert "X-Request-Id" in ours.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in ours.headers
        for origin in (
            f"{ORIGIN}.evil.example",
            "null",
            "https://console.example:444",
            "HTTPS://CONSOLE.EXAMPLE",
            "",
        ):
            other = nobody.get(path, headers={"Origin": origin})
            assert "access-control-allow-origin" not in other.headers
        for response in (ours, other, nobody.get(path)):
            assert "Origin" in response.headers["vary"]


def test_a_304_may_be_read_too(friendly: Server) -> None:
    with friendly.agent() as agent:
        etag = agent.get("/api/atr-rules").headers["etag"]
        response = agent.get("/api/atr-rules", headers={"If-None-Match": etag, "Origin": ORIGIN})
    assert response.status_code == 304
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "Authorization" in response.headers["vary"]


@pytest.mark.parametrize("path", ["/api/atr-proposals", "/api/admin/keys"])
def test_a_browser_may_ask_before_it_sends_a_key(path: str, friendly: Server) -> None:
    """A preflight carries no key, so it must be answered without one (the public server answers 401)."""
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "PATCH"}
    with friendly.client() as nobody:
        response = nobody.options(path, headers=asked)
    assert response.status_code == 204
    assert "PATCH" in response.headers["access-control-allow-methods"]
    assert "Authorization" in response.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    "origin", ["*", "console.example", "https://a.example/", "https://A.example", "null"]
)
def test_what_is_no_origin_is_refused_at_start(origin: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[access]\ncors_origins = ["{origin}"]\n')
    with pytest.raises(ConfigError, match="cors_origins"):
        load_config(path, {})
