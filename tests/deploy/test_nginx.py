"""The shipped nginx configuration in front of a real server: what passes untouched, and what does not pass."""

import gzip
import json
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.config import Config, ServerOptions
from app.web.application import create_application
from app.web.openapi import operations
from tests.deploy.front import NAME, SHIPPED, Front
from tests.deploy.manager import Activated
from tests.example_rules import rule_text
from tests.flows.fleet import eventually
from tests.needs import need_program
from tests.server import Server
from tests.web.answers import accepted, refused
from tests.web.conftest import UNLIMITED

BEHIND_A_PROXY = {**UNLIMITED, "access_trusted_proxies": "127.0.0.1"}
ALIASES = ("/api/", "/v1/api/", "/api/v1/", "/api/api/")
SPOOFED = {
    "X-Forwarded-For": "203.0.113.66",
    "Forwarded": "for=203.0.113.66",
    "X-Real-IP": "203.0.113.66",
    "True-Client-IP": "203.0.113.66",
    "Via": "1.1 somebody",
}
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("instance"), **BEHIND_A_PROXY) as running:
        (running.folder / "rule.yaml").write_text(rule_text("ATR-2026-96001"))
        running.cli("rule", "import", "rule.yaml")
        yield running


@pytest.fixture(scope="module")
def front(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with Front(tmp_path_factory.mktemp("nginx") / "front", server) as running:
        yield running


@pytest.fixture(scope="module")
def partner(server: Server) -> str:
    return server.issue("partner")


def raw(front: Front, request: bytes) -> bytes:
    """Everything that comes back for some bytes over TLS."""
    context = ssl.create_default_context(cafile=str(front.ca))
    with (
        socket.create_connection(("127.0.0.1", front.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as connection,
    ):
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def parsed(answer: bytes) -> httpx.Response:
    """One answer that a connection ended with, without transfer coding."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return httpx.Response(int(first.split()[1]), headers=headers, content=body)


class TestAddresses:
    def test_a_client_cannot_write_its_own(self, server: Server, front: Front) -> None:
        with front.client(server.admin_token, source="127.0.0.2", **SPOOFED) as spoofer:
            body = {"role": "agent", "subject": "spoofed"}
            accepted(spoofer.post("/api/admin/keys", json=body), 201)
        (entry,) = [
            e for e in server.cli_json("audit", "list") if e.get("detail", {}).get("subject") == "spoofed"
        ]
        assert entry["address"] == "127.0.0.2"

    def test_the_log_has_the_clients(self, front: Front) -> None:
        with front.client(source="127.0.0.4", **SPOOFED) as client:
            client.get("/health")
        eventually(
            lambda: '"address":"127.0.0.4"' in front.access_log.read_text(), "the line of the access log"
        )


class TestPassesUntouched:
    @pytest.mark.parametrize("coding", ["identity", "gzip"])
    def test_the_set_compressed_or_not(self, coding: str, server: Server, front: Front, partner: str) -> None:
        found = []
        with server.client(partner) as direct, front.client(partner) as through:
            for client in (direct, through):
                with client.stream(
                    "GET", "/api/atr-rules/live", headers={"Accept-Encoding": coding}
                ) as answer:
                    found.append((b"".join(answer.iter_raw()), answer.headers))
        (_, headers), (body, same_headers) = found
        for name in ("etag", "last-modified", "content-type", "content-encoding", "vary", "cache-control"):
            assert same_headers.get(name) == headers.get(name), name
        assert (headers.get("content-encoding") == "gzip") is (coding == "gzip")
        text = gzip.decompress(body) if coding == "gzip" else body
        assert json.loads(text)["request_id"] == same_headers["x-request-id"]

    def test_what_the_server_does_not_compress(self, server: Server, front: Front) -> None:
        with server.client() as direct, front.client() as through:
            plain, passed = (client.get("/.well-known/jwks.json") for client in (direct, through))
        assert "content-encoding" not in plain.headers
        assert "content-encoding" not in passed.headers
        assert passed.content == plain.content

    def test_a_304(self, front: Front, partner: str) -> None:
        with front.client(partner) as client:
            etag = client.get("/api/atr-rules/live").headers["etag"]
            answer = client.get("/api/atr-rules/live", headers={"If-None-Match": etag})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)

    def test_head_and_doubled_slashes(self, front: Front, partner: str) -> None:
        with front.client(partner) as client:
            assert client.head("/api/atr-rules").status_code == 200
        refused(parsed_path(front, "//api//atr-rules/"), 401)

    def test_refusals_of_the_server(self, front: Front) -> None:
        with front.client() as nobody:
            answer = nobody.get("/api/atr-rules/live")
        assert "key" in refused(answer, 401)["error"]
        assert answer.headers["www-authenticate"]

    def test_browsers_are_told_to_stay_with_tls(self, front: Front) -> None:
        with front.client() as client:
            for path in ("/health", "/none", "/metrics"):
                assert client.get(path).headers["strict-transport-security"] == "max-age=31536000"


class TestSizes:
    def test_a_body_that_is_too_large(self, server: Server, front: Front) -> None:
        with front.client(server.issue("agent")) as agent:
            answer = agent.post("/api/atr-proposals", content=b"x" * (MEBIBYTE + 1))
            refused(answer, 413)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert refused(agent.post("/api/atr-proposals", content=b"x" * MEBIBYTE), 400)

    def test_the_example_says_what_the_server_takes(self) -> None:
        site = (SHIPPED / "examples" / "site.conf").read_text()
        assert f"client_max_body_size {ServerOptions().max_body_bytes // MEBIBYTE}m;" in site

    @pytest.mark.parametrize("prefix", ALIASES)
    def test_admins_may_send_more(self, prefix: str, server: Server, front: Front) -> None:
        with front.client(server.admin_token) as admin:
            answer = admin.post(f"{prefix}rules/sync", json={"rules": [], "padding": "x" * 2 * MEBIBYTE})
        assert answer.status_code in {200, 400}, answer.text

    def test_who_has_no_key_is_refused_by_the_server(self, front: Front) -> None:
        with front.client() as nobody:
            refused(nobody.post("/api/admin/bundles/import", content=b"x" * 2 * MEBIBYTE), 401)

    def test_these_are_the_routes_that_take_more(self) -> None:
        text = (SHIPPED / "threatcloud.conf").read_text()
        found = re.search(r"location ~ (\S*rules/sync\S*) \{\s+client_max_body_size (\d+)m;", text)
        assert found is not None
        usual = ServerOptions().max_body_bytes
        for method, path, handler in operations(create_application(Config()).litestar):
            largest = handler.resolve_request_max_body_size() or 0
            takes_more = method in {"POST", "PUT", "PATCH"} and largest > usual
            matches = [re.match(found[1], path.replace("/api/", alias, 1)) is not None for alias in ALIASES]
            assert matches == [takes_more] * len(ALIASES), f"{method} {path}"
            if takes_more:
                assert largest == int(found[2]) * MEBIBYTE


class TestRefusedByNginx:
    def test_headers_that_are_too_long(self, front: Front) -> None:
        refused(parsed(raw(front, b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n")), 431)

    def test_a_path_that_is_too_long(self, front: Front) -> None:
        refused(parsed(raw(front, b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")), 414)

    def test_no_host(self, front: Front) -> None:
        refused(parsed(raw(front, b"GET / HTTP/1.1\r\n\r\n")), 400)

    def test_a_method_that_nobody_needs(self, front: Front) -> None:
        request = f"TRACE / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"
        refused(parsed(raw(front, request.encode())), 405)

    def test_plain_http(self, front: Front) -> None:
        with socket.create_connection(("127.0.0.1", front.port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        refused(parsed(answer), 400)

    def test_metrics_are_for_those_that_the_site_names(self, front: Front) -> None:
        with front.client(source="127.0.0.1") as prometheus, front.client(source="127.0.0.3") as stranger:
            assert prometheus.get("/metrics").status_code == 200
            for path in ("/metrics", "/metrics/", "//metrics", "/%6detrics", "/x/../metrics"):
                refused(parsed_path(front, path, "127.0.0.3"), 403)
            assert stranger.get("/health").status_code == 200

    def test_its_own_page_of_errors_is_not_to_be_asked_for(self, front: Front) -> None:
        with front.client() as client:
            assert refused(client.get("/threatcloud-error"), 404)

    def test_a_server_that_is_away(self, tmp_path: Path) -> None:
        server = Server(tmp_path / "instance")
        with Front(tmp_path / "front", server) as front, front.client() as client:
            answer = client.get("/health")
        refused(answer, 502)
        assert answer.headers["retry-after"] == "5"

    def test_too_many_at_once(self, server: Server, tmp_path: Path) -> None:
        changes = {
            "limits.conf": {"rate=200r/s": "rate=1r/m"},
            "site.conf": {"burst=2000": "burst=3"},
        }
        with Front(tmp_path / "front", server, changes) as front, front.client() as client:
            answers = [client.get("/health") for _ in range(6)]
            with front.client(source="127.0.0.9") as other:
                assert other.get("/health").status_code == 200
        assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
        refused(answers[-1], 429)
        assert answers[-1].headers["retry-after"] == "5"


def parsed_path(front: Front, path: str, source: str = "127.0.0.1") -> httpx.Response:
    """An answer for a path exactly as it is written here."""
    context = ssl.create_default_context(cafile=str(front.ca))
    address = ("127.0.0.1", front.port)
    with (
        socket.create_connection(address, timeout=20, source_address=(source, 0)) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as connection,
    ):
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
        return parsed(b"".join(iter(lambda: connection.recv(65536), b"")))


class TestTls:
    def handshake(self, front: Front, newest: ssl.TLSVersion, *protocols: str) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(front.ca))
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest
        context.set_alpn_protocols(protocols)
        plain = socket.create_connection(("127.0.0.1", front.port), timeout=20)
        with context.wrap_socket(plain, server_hostname=NAME) as connection:
            return connection

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
    def test_old_versions_are_refused_by_the_server(self, version: ssl.TLSVersion, front: Front) -> None:
        with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
            self.handshake(front, version)

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_new_ones_are_taken(self, version: ssl.TLSVersion, front: Front) -> None:
        self.handshake(front, version)

    def test_http_2(self, front: Front, partner: str) -> None:
        done = subprocess.run(
            [
                *(need_program("curl"), "--silent", "--show-error", "--http2", "--cacert", str(front.ca)),
                *(
                    "--resolve",
                    f"{NAME}:{front.port}:127.0.0.1",
                    "--header",
                    f"Authorization: Bearer {partner}",
                ),
                *("--output", "/dev/null", "--write-out", "%{http_version} %{response_code}"),
                f"https://{NAME}:{front.port}/api/atr-rules/live",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "2 200", done.stdout + done.stderr


def test_the_access_log_has_no_query_and_no_key(front: Front, partner: str) -> None:
    with front.client(partner) as client:
        answer = client.get("/api/atr-rules", params={"since": "2026-01-01T00:00:00Z"})
    request_id = answer.headers["x-request-id"]
    eventually(lambda: f'"{request_id}"' in front.access_log.read_text(), "the line of the access log")
    lines = [json.loads(line) for line in front.access_log.read_text().splitlines()]
    (line,) = [line for line in lines if line["request_id"] == request_id]
    assert (line["path"], line["status"], line["method"]) == ("/api/atr-rules", 200, "GET")
    assert "since" not in json.dumps(line)
    assert partner not in front.access_log.read_text()


def test_requests_wait_while_the_server_restarts(tmp_path: Path) -> None:
    server = Activated(tmp_path / "instance", **BEHIND_A_PROXY)
    try:
        server.start()
        with Front(tmp_path / "front", server) as front:
            with front.client() as client:
                assert client.get("/health").status_code == 200
            assert server.stop() == 0
            statuses: list[int] = []

            def ask() -> None:
                with front.client() as client:
                    statuses.append(client.get("/health").status_code)

            waiting = [threading.Thread(target=ask) for _ in range(5)]
            for thread in waiting:
                thread.start()
            server.start()
            for thread in waiting:
                thread.join()
            assert statuses == [200] * 5
    finally:
        server.__exit__()


def test_nginx_finds_nothing_to_warn_of(front: Front) -> None:
    done = subprocess.run(
        [front.program, "-t", "-q", "-p", str(front.folder), "-c", str(front.configuration)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
