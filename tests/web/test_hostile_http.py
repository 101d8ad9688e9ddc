"""HTTP as hostile, broken or merely old clients speak it, byte by byte."""

import itertools
import json
import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as METRICS

from app.http.described import FILE_TYPE
from app.web.server import KEEPALIVE_SECONDS
from app.web.worker import HEADER_SECONDS, STALL_SECONDS
from tests.server import Server
from tests.web.answers import accepted, defects, eventually, holdings, log_lines, nothing_kept
from tests.web.answers import refused as refused_response
from tests.web.conftest import UNLIMITED
from tests.web.raw import Answer, answer, answers, connect, everything, exchange, refused
from tests.web.routes import all_operations

HOST = "Host: threatcloud\r\n"
DESCRIPTION = "/api/openapi/openapi.json"


def get(path: str, *lines: str) -> str:
    """A request after which the server closes the connection."""
    headers = "".join(f"{line}\r\n" for line in ("Connection: close", *lines))
    return f"GET {path} HTTP/1.1\r\n{HOST}{headers}\r\n"


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    """The header line of an admin."""
    return f"Authorization: Bearer {server.admin_token}\r\n"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An instance that waits one second for a body."""
    folder = tmp_path_factory.mktemp("impatient")
    with Server(folder, server_body_seconds=1, **UNLIMITED) as running:
        yield running
        assert defects(running) == []


MALFORMED = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "garbage": b"\x00\xff\xfe\x01\r\n\r\n",
    "words": b"hello\r\n\r\n",
    "HTTP/0.9": b"GET /health\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": b"GET /health HTTP/9.9\r\n\r\n",
    "lower-case version": b"GET /health http/1.1\r\n\r\n",
    "lower-case method": b"get /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "no method": b" /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad method": b"GE(T /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "long method": b"G" * 100 + b" /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "space in the path": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "control character in the path": b"GET /a\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw UTF-8 in the path": "GET /ä HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "relative path": b"GET health HTTP/1.1\r\nHost: x\r\n\r\n",
    "asterisk": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "bare line feeds": b"GET /health HTTP/1.1\nHost: x\n\n",
    "bare carriage returns": b"GET /health HTTP/1.1\r\nHost: x\r\rA: b\r\n\r\n",
    "no colon": b"GET /health HTTP/1.1\r\nHost\r\n\r\n",
    "space before the colon": b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
    "no header name": b"GET /health HTTP/1.1\r\n: x\r\n\r\n",
    "folded header": b"GET /health HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
    "NUL in a header": b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
    "escape in a header": b"GET /health HTTP/1.1\r\nHost: x\r\nA: \x1b[31m\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_not_http_is_refused(name: str, server: Server) -> None:
    with nothing_kept(server):
        error = refused(answer(exchange(server, MALFORMED[name])), 400)
    assert error.startswith("This is not an HTTP/1.1 request: ")


AMBIGUOUS = {
    "length and chunked": "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "chunked and length": "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "two lengths": "Content-Length: 5\r\nContent-Length: 6\r\n",
    "the same length twice": "Content-Length: 5\r\nContent-Length: 5\r\n",
    "a list of lengths": "Content-Length: 5, 5\r\n",
    "a negative length": "Content-Length: -5\r\n",
    "a signed length": "Content-Length: +5\r\n",
    "a hexadecimal length": "Content-Length: 0x5\r\n",
    "a length with an underscore": "Content-Length: 1_0\r\n",
    "a length of 5,000 digits": f"Content-Length: {'9' * 5000}\r\n",
    "an empty length": "Content-Length:\r\n",
    "chunked twice": "Transfer-Encoding: chunked, chunked\r\n",
    "chunked, then something": "Transfer-Encoding: chunked, identity\r\n",
    "a space before the colon": "Transfer-Encoding : chunked\r\n",
    "a folded coding": "Transfer-Encoding:\r\n chunked\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_body_whose_end_is_ambiguous_is_refused(name: str, server: Server, key: str) -> None:
    """What is smuggled behind it is not answered, let alone obeyed (RFC 9112 11.2)."""
    hidden = f"POST /api/admin/promote HTTP/1.1\r\n{HOST}{key}\r\n"
    content = f"POST /api/admin/keys HTTP/1.1\r\n{HOST}{key}{AMBIGUOUS[name]}\r\n0\r\n\r\n{hidden}"
    with nothing_kept(server):
        refused(answer(exchange(server, content)), 400)


@pytest.mark.parametrize(
    "size", ["zz\r\n", "\r\n", " 5\r\n", "-1\r\n", "0x5\r\n", "5;\x01\r\n", "5\n", "1_0\r\n"]
)
def test_a_chunk_of_no_size_is_refused(size: str, server: Server, key: str) -> None:
    content = f"POST /api/admin/keys HTTP/1.1\r\n{HOST}{key}Transfer-Encoding: chunked\r\n\r\n{size}aaaaa"
    with nothing_kept(server):
        refused(answer(exchange(server, content)), 400)


def test_a_chunk_longer_than_it_said(server: Server, key: str) -> None:
    head = f"POST /api/admin/keys HTTP/1.1\r\n{HOST}{key}Transfer-Encoding: chunked\r\n\r\n"
    with nothing_kept(server):
        refused(answer(exchange(server, head + "2\r\n{}}\r\n0\r\n\r\n")), 400)


def test_an_unknown_transfer_coding_is_refused(server: Server, key: str) -> None:
    content = f"POST /api/admin/keys HTTP/1.1\r\n{HOST}{key}Transfer-Encoding: braille\r\n\r\n"
    with nothing_kept(server):
        refused(answer(exchange(server, content)), 501)


@pytest.mark.parametrize(
    "path", ["/" + "a" * 8200, "/api/atr-rules?since=" + "x" * 1_000_000, "/" + "%00" * 3000]
)
def test_a_request_line_that_is_too_long_is_refused(path: str, server: Server) -> None:
    with nothing_kept(server):
        refused(answer(exchange(server, get(path))), 414)


def test_a_request_line_without_end(server: Server) -> None:
    refused(answer(exchange(server, b"GET /" + b"a" * 100_000)), 414)


@pytest.mark.parametrize(
    "headers",
    [
        "".join(f"A{number}: b\r\n" for number in range(101)),
        f"A: {'b' * 8190}\r\n",
        f"A: {'b' * 1_000_000}",
        f"{'A' * 9000}: b\r\n",
        "".join(f"A: {'b' * 8000}\r\n" for _ in range(101)),
    ],
    ids=["101 headers", "one of 8 kB", "one without end", "a long name", "800 kB of headers"],
)
def test_too_many_or_too_large_headers_are_refused(headers: str, server: Server) -> None:
    with nothing_kept(server):
        refused(answer(exchange(server, f"GET /health HTTP/1.1\r\n{HOST}{headers}\r\n")), 431)


def test_headers_at_their_limits(server: Server) -> None:
    lines = [f"A{number}: b" for number in range(97)]
    assert answer(exchange(server, get("/health", *lines, "B: " + "b" * 8180))).status == 200


def test_bytes_that_are_no_ascii_in_a_header(server: Server, key: str) -> None:
    """RFC 9110 5.5: obsolete, but allowed."""
    got = answer(exchange(server, get("/api/admin/keys", key.strip(), "X-Panguard-Client-Id: \xe9\xff")))
    assert got.status == 200


@pytest.mark.parametrize("host", ["<script>", "a b", "x\ty", "a/b", "\xe9"])
def test_a_host_that_is_none_is_refused(host: str, server: Server) -> None:
    refused(
        answer(exchange(server, f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")), 400
    )


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    paths = ["/health", "/nix", "/ready", "/.well-known/jwks.json"] * 25
    content = "".join(f"GET {path} HTTP/1.1\r\n{HOST}\r\n" for path in paths) + get("/health")
    got = answers(exchange(server, content))
    assert [found.status for found in got] == [200, 404, 200, 200] * 25 + [200]
    ids = [found.headers["x-request-id"] for found in got]
    assert len(set(ids)) == len(ids)
    assert [found.json["request_id"] for found in got if "request_id" in found.json] == [
        identity for identity, path in zip(ids, [*paths, "/health"], strict=True) if "jwks" not in path
    ]


def test_a_body_is_not_taken_for_the_next_request(server: Server) -> None:
    """Whether or not anybody wanted it."""
    body = f"DELETE /api/admin/keys/x HTTP/1.1\r\n{HOST}\r\n"
    post = f"POST /api/admin/keys HTTP/1.1\r\n{HOST}Content-Length: {len(body)}\r\n\r\n{body}"
    chunk = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n"
    chunked = f"POST /api/nix HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{chunk}"
    with_get = f"GET /health HTTP/1.1\r\n{HOST}Content-Length: {len(body)}\r\n\r\n{body}"
    got = answers(exchange(server, post + chunked + with_get + get("/health")))
    assert [found.status for found in got] == [401, 404, 200, 200]


@pytest.mark.parametrize("size", [900_000, 2_000_000, 20_000_000])
def test_a_refusal_reaches_a_client_that_is_still_sending(size: int, server: Server) -> None:
    """Without a reset in between, and the connection goes on (measured: Node's `http` lost every second one)."""
    head = (
        f"POST /api/atr-proposals HTTP/1.1\r\n{HOST}Authorization: Bearer x\r\nContent-Length: {size}\r\n\r\n"
    )
    with connect(server) as connection:
        connection.sendall(head.encode())
        time.sleep(0.05)  # so that the answer is there before the body
        connection.sendall(b"x" * size)
        connection.sendall(get("/health").encode())
        first, second = answers(everything(connection))
    assert "This is no key" in refused(first, 401)
    assert second.status == 200


def test_what_follows_a_refusal_is_not_read_for_ever(server: Server) -> None:
    head = f"POST /api/atr-proposals HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"
    piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    with connect(server) as connection, pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.sendall(head.encode())
        for _ in range(10_000):
            connection.sendall(piece)


def test_expect_continue(server: Server, key: str) -> None:
    """RFC 9110 10.1.1: asked to go on for a body that is wanted, refused at once for one that is not."""
    body = b'{"role": "agent", "subject": "expected"}'
    head = f"POST /api/admin/keys HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: {len(body)}\r\n"
    with connect(server) as connection:
        connection.sendall(f"{head}{key}Connection: close\r\n\r\n".encode())
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert answer(everything(connection)).status == 201
    with nothing_kept(server):
        refused(answer(exchange(server, f"{head}\r\n")), 401)
        head = (
            f"POST /api/admin/keys HTTP/1.1\r\n{HOST}{key}Expect: 100-continue\r\nContent-Length: 9999999\r\n"
        )
        refused(answer(exchange(server, f"{head}\r\n")), 413)


@pytest.mark.parametrize(
    "target",
    ["http://threatcloud/health", "HTTP://x:8080/health?a=b", "https://[::1]/v1/health/", "http://x//health"],
)
def test_a_target_in_absolute_form(target: str, server: Server) -> None:
    """RFC 9112 3.2.2: a server MUST accept it."""
    assert answer(exchange(server, get(target))).status == 200


@pytest.mark.parametrize("target", ["http://threatcloud", "http://threatcloud/", "http://x/http://x/health"])
def test_an_absolute_target_that_leads_nowhere(target: str, server: Server) -> None:
    refused(answer(exchange(server, get(target))), 404)


ALIASES = [
    "/api/admin/keys",
    "/api/admin/keys/",
    "/api/admin/keys///",
    "//api//admin///keys/",
    "/api/api/admin/keys",
    "/api/api/admin/keys/",
    "//api/api//admin/keys",
    "/api/v1/admin/keys",
    "/v1/api/admin/keys",
    "/v1//api/admin/keys/",
    "/api/%61dmin/keys",
]


@pytest.mark.parametrize("path", ALIASES)
def test_the_spellings_of_a_path(path: str, server: Server, key: str) -> None:
    got = answer(exchange(server, get(path, key.strip())))
    assert got.status == 200
    plain = answer(exchange(server, get(ALIASES[0], key.strip())))
    assert got.json["data"] == plain.json["data"]
    refused(answer(exchange(server, get(path))), 401)


@pytest.mark.parametrize(
    "path", ["//api//atr-rules/", "/api/api/atr-rules", "/api/v1/atr-rules", "/v1/api/atr-rules"]
)
def test_the_spellings_that_guards_use(path: str, server: Server, key: str) -> None:
    assert answer(exchange(server, get(f"{path}?since=1970-01-01T00:00:00.000Z", key.strip()))).status == 200


VOLATILE = {"date", "x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}
READABLE = [operation for operation in all_operations() if operation.method == "GET"]


@pytest.mark.parametrize("path", [operation.filled for operation in READABLE] + [DESCRIPTION, "/api/nix"])
def test_head_is_get_without_the_body(path: str, server: Server, key: str) -> None:
    asked = f"{HOST}{key}Connection: close\r\n\r\n"
    whole = answer(exchange(server, f"GET {path} HTTP/1.1\r\n{asked}"))
    head = answer(exchange(server, f"HEAD {path} HTTP/1.1\r\n{asked}"), head=True)
    assert head.status == whole.status
    has_id = whole.headers["x-request-id"].encode() in whole.body
    assert comparable(head, has_id=has_id) == comparable(whole, has_id=has_id)
    assert len(whole.body) == int(whole.headers["content-length"]) > 0


def comparable(found: Answer, *, has_id: bool) -> dict[str, str | int]:
    """The headers that HEAD and GET must share; the id in the body may have one digit more the second time."""
    fixed: dict[str, str | int] = {k: v for k, v in found.headers.items() if k not in VOLATILE}
    if fixed["content-type"] in {FILE_TYPE, METRICS}:  # each bundle says when it was made; numbers grow
        return {k: v for k, v in fixed.items() if k not in {"content-length", "repr-digest"}}
    id_size = len(found.headers["x-request-id"]) if has_id else 0
    fixed["content-length"] = int(found.headers["content-length"]) - id_size
    return fixed


@pytest.mark.parametrize("path", sorted({operation.filled for operation in all_operations()}))
def test_options_names_what_a_path_takes(path: str, server: Server) -> None:
    methods = {operation.method for operation in all_operations() if operation.filled == path}
    got = answer(exchange(server, f"OPTIONS {path} HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n"))
    assert got.status == 204
    assert set(got.headers["allow"].split(", ")) == methods | {
        "OPTIONS",
        *(["HEAD"] if "GET" in methods else []),
    }
    assert got.body == b""


def test_an_offer_to_upgrade_is_declined(server: Server) -> None:
    """RFC 9110 7.8: by answering the request."""
    websocket = (
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    content = f"GET /health HTTP/1.1\r\n{HOST}Connection: Upgrade\r\n" + "".join(
        f"{line}\r\n" for line in websocket
    )
    first, second = answers(exchange(server, content + "\r\n" + get("/health")))
    assert (first.status, second.status) == (200, 200)
    h2c = ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
    assert answer(exchange(server, get("/health", *h2c))).status == 200


def test_http_1_0(server: Server) -> None:
    assert answer(exchange(server, "GET /health HTTP/1.0\r\n\r\n")).status == 200


def test_what_is_written_in_the_path_stays_one_line_in_the_log(server: Server) -> None:
    """And none that a terminal would obey."""
    exchange(server, get('/%0a%7B"event":"forged"%7D%0d%0a'))
    exchange(server, get("/%C2%9B31m%1b%5b31m%E2%80%A8%E2%80%AE"))
    (line,) = eventually(lambda: [line for line in log_lines(server) if "31m" in str(line.get("path"))])
    assert line["path"] == "/%C2%9B31m%1B%5B31m%E2%80%A8%E2%80%AE"
    assert [line for line in log_lines(server) if line["event"] == "forged"] == []
    text = server.log.read_text()
    assert text.isascii()
    assert "\x1b" not in text
    assert all(line.startswith("{") for line in text.split("\n")[2:-1])


def test_three_hundred_idle_connections(server: Server) -> None:
    idle = [connect(server) for _ in range(300)]
    try:
        for connection in idle[::2]:
            connection.sendall(b"GET /hea")
        with httpx.Client(base_url=server.url, verify=False, timeout=2) as client:
            for _ in range(20):
                accepted(client.get("/ready"))
        for connection in idle[:20:2]:
            connection.sendall(b"lth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert answer(everything(connection)).status == 200
    finally:
        for connection in idle:
            connection.close()


def registered_from(server: Server, *forwarded: str) -> str:
    """The address that the server notes for a client with these `X-Forwarded-For` lines."""
    headers = [("X-Forwarded-For", value) for value in forwarded]
    with server.client() as client, server.admin as admin:
        key_id = accepted(
            client.post("/api/clients/register", json={"clientId": "host-0815"}, headers=headers), 201
        )["id"]
        address: str = accepted(admin.get(f"/api/admin/keys/{key_id}"))["address"]
    return address


@pytest.mark.parametrize("forwarded", ["203.0.113.9", "203.0.113.9, 127.0.0.1", "::1", "", "x" * 5000])
def test_forwarded_addresses_of_strangers_are_ignored(forwarded: str, server: Server) -> None:
    assert registered_from(server, forwarded) == "127.0.0.1"
    with server.client() as client:
        accepted(
            client.get("/health", headers={"X-Forwarded-For": forwarded, "Forwarded": f"for={forwarded}"})
        )
    assert {line["address"] for line in log_lines(server) if line["event"] == "request"} == {"127.0.0.1"}


def test_forwarded_addresses_of_trusted_proxies(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Read from the right, as far as trust goes; several lines are one list (RFC 9110 5.3)."""
    folder = tmp_path_factory.mktemp("behind-proxies")
    options = UNLIMITED | {
        "access_trusted_proxies": ["127.0.0.1/32", "10.0.0.0/8"],
        "access_registration": "open",
    }
    with Server(folder, **options) as behind:
        assert registered_from(behind) == "127.0.0.1"
        assert registered_from(behind, "203.0.113.9") == "203.0.113.9"
        assert registered_from(behind, "198.51.100.1, 203.0.113.9") == "203.0.113.9"
        assert registered_from(behind, "203.0.113.9, 10.1.2.3") == "203.0.113.9"
        assert registered_from(behind, "198.51.100.1", "203.0.113.9", "10.1.2.3") == "203.0.113.9"
        assert registered_from(behind, "203.0.113.9, garbage") == "127.0.0.1"
        assert registered_from(behind, "2001:db8::1") == "2001:db8::1"


def test_a_body_that_stops_in_the_middle(impatient: Server) -> None:
    head = f"POST /api/admin/keys HTTP/1.1\r\n{HOST}Authorization: Bearer {impatient.admin_token}\r\n"
    with nothing_kept(impatient):
        started = time.monotonic()
        for framing in (
            "Content-Length: 50\r\n\r\n12345",
            "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        ):
            assert "did not arrive in time" in refused(answer(exchange(impatient, head + framing)), 408)
        assert 2 <= time.monotonic() - started < 4


def test_a_body_that_drips(impatient: Server) -> None:
    """The deadline is for the whole: one byte now and then does not renew it."""
    head = f"POST /api/admin/keys HTTP/1.1\r\n{HOST}Authorization: Bearer {impatient.admin_token}\r\n"
    with nothing_kept(impatient), connect(impatient) as connection:
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode())
        started = time.monotonic()
        while not select.select([connection], [], [], 0.1)[0]:
            connection.sendall(b" ")
        assert 0.9 <= time.monotonic() - started < 3
        refused(answer(everything(connection)), 408)


def test_a_client_that_leaves_in_the_middle(impatient: Server) -> None:
    """Nothing is kept, and it is no defect of ours: the log has no error (the fixture looks)."""
    token = impatient.issue("agent")
    head = f"POST /api/atr-proposals HTTP/1.1\r\n{HOST}Authorization: Bearer {token}\r\nContent-Length: 500\r\n\r\n"
    before = holdings(impatient)
    for _ in range(20):
        with connect(impatient) as connection:
            connection.sendall(head.encode() + b'{"patternHash": "half')
    gone = 'path":"/api/atr-proposals"'
    eventually(lambda: impatient.log.read_text().count(gone) >= 20)
    assert holdings(impatient) == before


def test_a_body_that_nobody_reads_may_stop_too(impatient: Server) -> None:
    """The refusal is there at once, and the connection ends with the deadline."""
    head = f"POST /api/admin/keys HTTP/1.1\r\n{HOST}Content-Length: 500\r\n\r\nhalf"
    with connect(impatient) as connection:
        started = time.monotonic()
        connection.sendall(head.encode())
        received = connection.recv(65_536)
        assert time.monotonic() - started < 0.5
        received += everything(connection)
        assert time.monotonic() - started < 3
    refused(answer(received), 401)


@pytest.mark.slow
def test_clients_that_stall(server: Server) -> None:
    """One is silent, one never ends its headers, one does not read; a slow one that does read is served."""
    with ThreadPoolExecutor() as pool:
        silent = pool.submit(stalled_headers, server, b"")
        half = pool.submit(stalled_headers, server, b"GET /health HTTP/1.1\r\nHost: x\r\n")
        deaf = pool.submit(seconds_until_cut_off, server)
        slow = pool.submit(slowly_read, server, STALL_SECONDS + 5)
        for seconds, found in (silent.result(), half.result()):
            assert HEADER_SECONDS - 1 <= seconds < HEADER_SECONDS + 3
            assert "did not arrive" in refused(found, 408)
        assert STALL_SECONDS - 1 <= deaf.result() < 2 * STALL_SECONDS + 3
        assert [found.status for found in slow.result()] == [200] * MANY


def stalled_headers(server: Server, start: bytes) -> tuple[float, Answer]:
    """How long a connection lives that sends `start` and then a header line now and then, and its last word."""
    with connect(server, HEADER_SECONDS + 10) as connection:
        started = time.monotonic()
        connection.sendall(start)
        for number in itertools.count():
            if select.select([connection], [], [], 1)[0]:
                break
            if start:
                connection.sendall(f"A{number}: b\r\n".encode())
        received = everything(connection)
        return time.monotonic() - started, answer(received)


MANY = 300
"""Of 55 kB each: more than all buffers between us and the server hold."""


def asking_for_much(server: Server) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", server.port))
    request = f"GET {DESCRIPTION} HTTP/1.1\r\n{HOST}\r\n"
    connection.sendall((request * (MANY - 1) + get(DESCRIPTION)).encode())
    return connection


def seconds_until_cut_off(server: Server) -> float:
    """How long the server keeps a connection open that asks and does not read."""
    with asking_for_much(server) as connection:
        started = time.monotonic()
        port = connection.getsockname()[1]
        while is_open(server.port, port) and time.monotonic() - started < 3 * STALL_SECONDS:
            time.sleep(0.5)
        return time.monotonic() - started


def is_open(local: int, remote: int) -> bool:
    """Does the kernel have an established connection with these ports? The other end would not notice its end:
    the server's last words wait behind all that it has not read.
    """
    wanted = f":{local:04X}", f":{remote:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any((row[1][-5:], row[2][-5:]) == wanted and row[3] == "01" for row in rows)


def slowly_read(server: Server, seconds: float) -> list[Answer]:
    """Read a little every second, and the rest in the end."""
    received = bytearray()
    with asking_for_much(server) as connection:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            received += connection.recv(65_536)
            time.sleep(1)
        received += everything(connection)
    return answers(bytes(received))


def test_errors_of_the_edge_are_counted_as_requests_of_nobody(server: Server) -> None:
    """A refusal before the application has an id too, and the next good request works."""
    first = answer(exchange(server, b"\r\n\r\n\r\n"))
    second = answer(exchange(server, get("/health")))
    assert refused(first, 400)
    assert second.status == 200
    with server.client() as client:
        refused_response(client.get("/nix"), 404)
    assert json.loads(second.body)["ok"] is True


def test_an_idle_connection_does_not_hold_a_stop_up(tmp_path: Path) -> None:
    with Server(tmp_path) as server, connect(server) as idle:
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(65_536).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < KEEPALIVE_SECONDS
        assert idle.recv(1) == b""
