"""Conditional requests, freshness and compression over real HTTP, as caches and odd clients ask for them."""

import base64
import gzip
import hashlib
import json
import subprocess
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import httpx
import jwt
import pytest

from tests.example_rules import rule_text
from tests.needs import need_program
from tests.node import in_node
from tests.server import Server
from tests.web.answers import accepted, refused
from tests.web.raw import answer, exchange

LIVE, AGENTS, TOOLS = "/api/atr-rules/live", "/api/atr-rules", "/api/rules"
REPRESENTATIONS = [LIVE, AGENTS, f"{AGENTS}?format=yaml", TOOLS]
PARTS = [f"{AGENTS}?category=tool-poisoning", f"{TOOLS}?since=2099-01-01T00:00:00Z", f"{LIVE}?severity=none"]
VALIDATORS = ("etag", "last-modified", "cache-control", "vary", "threatcloud-freshness")


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """An admin, who may read all of it; there are rules, with text that is no ASCII."""
    rules = [
        {
            "name": f"{number}.yaml",
            "text": rule_text(f"ATR-2026-9100{number}", title=f"Schlüssel № {number} 🔑 " * 9),
        }
        for number in range(5)
    ]
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    no_idle_connections = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=server.url, headers=headers, limits=no_idle_connections) as admin:
        accepted(admin.post("/api/admin/rules/import", json={"rules": rules}))
        del admin.headers["accept-encoding"]
        yield admin


def ask(client: httpx.Client, path: str, **headers: str) -> httpx.Response:
    """GET with exactly these headers: underscores stand for hyphens."""
    request = client.build_request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    if "accept_encoding" not in headers:
        request.headers.pop("accept-encoding", None)
    return client.send(request)


def unchanged(response: httpx.Response, whole: httpx.Response) -> None:
    """A 304 that keeps all that a cache needs, and nothing else (RFC 9110 15.4.5)."""
    assert response.status_code == 304
    assert response.content == b""
    assert "content-type" not in response.headers
    assert "content-encoding" not in response.headers
    assert response.headers.get("content-length") is None
    for name in VALIDATORS:
        assert response.headers[name] == whole.headers[name]
    assert response.headers["x-request-id"] != whole.headers["x-request-id"]


@pytest.mark.parametrize("path", REPRESENTATIONS + PARTS)
def test_a_tag_that_still_holds_is_answered_304(path: str, client: httpx.Client) -> None:
    whole = ask(client, path)
    tag = whole.headers["etag"]
    assert tag.startswith('W/"') and tag.endswith('"')
    opaque = tag.removeprefix("W/")
    for value in (
        tag,
        opaque,
        f'"other", {tag}',
        f'{tag}, W/"other"',
        f'"a" ,\t{opaque} , "b"',
        f",, {tag},",
        "*",
        ", ".join(f'W/"{n}"' for n in range(200)) + f", {tag}",
    ):
        unchanged(ask(client, path, if_none_match=value), whole)


@pytest.mark.parametrize("path", REPRESENTATIONS + PARTS)
def test_another_tag_is_answered_in_full(path: str, client: httpx.Client) -> None:
    tag = ask(client, path).headers["etag"]
    for value in (
        "",
        '""',
        'W/""',
        "W/",
        '"*"',
        tag.strip('W/"'),
        tag[:-2] + '"',
        tag.replace('W/"', 'W/"x'),
        tag.lower().replace("w/", "v/"),
        "garbage",
        '"' * 1000,
        "," * 5000,
        "\x80",
    ):
        response = client.get(path, headers=[(b"If-None-Match", value.encode("latin-1"))])
        accepted(response)


def test_if_none_match_in_several_lines(client: httpx.Client) -> None:
    """RFC 9110 5.3: several lines are one list."""
    whole = ask(client, AGENTS)
    lines = [("If-None-Match", value) for value in ('"a"', whole.headers["etag"], '"b"')]
    unchanged(client.get(AGENTS, headers=lines), whole)


def test_the_tag_of_one_representation_is_not_that_of_another(client: httpx.Client) -> None:
    tags = {path: ask(client, path).headers["etag"] for path in REPRESENTATIONS + PARTS}
    assert tags.pop(TOOLS) == tags[f"{AGENTS}?format=yaml"], "the same texts under another path"
    assert len(set(tags.values())) == len(tags) - 1, "an admin's default is yaml"
    tags[f"{AGENTS}?format=guard"] = ask(client, f"{AGENTS}?format=guard").headers["etag"]
    for path, tag in tags.items():
        for other, other_tag in tags.items():
            assert ask(client, path, if_none_match=other_tag).status_code == (
                304 if tag == other_tag else 200
            ), other


@pytest.mark.parametrize("path", REPRESENTATIONS + PARTS)
def test_a_date_since_which_nothing_changed_is_answered_304(path: str, client: httpx.Client) -> None:
    whole = ask(client, path)
    modified = parsedate_to_datetime(whole.headers["last-modified"])
    same, later = modified, modified + timedelta(days=400)
    for instant in (same, later):
        unchanged(ask(client, path, if_modified_since=format_datetime(instant, usegmt=True)), whole)
    for old_form in (
        modified.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        modified.strftime("%a %b %e %H:%M:%S %Y"),
    ):
        unchanged(ask(client, path, if_modified_since=old_form), whole)
    accepted(
        ask(client, path, if_modified_since=format_datetime(modified - timedelta(seconds=1), usegmt=True))
    )


@pytest.mark.parametrize(
    "value",
    [
        "",
        "yesterday",
        "0",
        "Fri, 99 Apr 2026 00:00:00 GMT",
        "Fri, 17 Apr 99999 00:00:00 GMT",
        "x" * 5000,
        "-1",
    ],
)
def test_an_if_modified_since_that_is_no_date_is_ignored(value: str, client: httpx.Client) -> None:
    """RFC 9110 13.1.3."""
    accepted(ask(client, AGENTS, if_modified_since=value))


@pytest.mark.parametrize("path", REPRESENTATIONS)
def test_if_none_match_outranks_if_modified_since(path: str, client: httpx.Client) -> None:
    """RFC 9110 13.2.2: with both, the date does not count."""
    whole = ask(client, path)
    never, long_ago = "Fri, 01 Jan 2100 00:00:00 GMT", "Fri, 01 Jan 1999 00:00:00 GMT"
    accepted(ask(client, path, if_none_match='"other"', if_modified_since=never))
    unchanged(ask(client, path, if_none_match=whole.headers["etag"], if_modified_since=long_ago), whole)


@pytest.mark.parametrize("path", REPRESENTATIONS + PARTS)
def test_head_has_the_headers_of_get_and_no_body(path: str, client: httpx.Client) -> None:
    whole = ask(client, path)
    head = client.head(path)
    assert head.status_code == 200
    assert head.content == b""
    for name in (*VALIDATORS, "content-type"):
        assert head.headers[name] == whole.headers[name]
    unchanged(client.head(path, headers={"If-None-Match": whole.headers["etag"]}), whole)
    assert client.head(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_304_ends_with_its_headers(server: Server, client: httpx.Client) -> None:
    """Not a byte behind the headers, so the connection goes on."""
    key = client.headers["authorization"]
    request = f"GET {LIVE} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nIf-None-Match: *\r\n"
    received = exchange(server, f"{request}Connection: close\r\n\r\n")
    assert received.endswith(b"\r\n\r\n") and received.count(b"\r\n\r\n") == 1
    assert answer(received).status == 304


@pytest.mark.parametrize("path", REPRESENTATIONS + PARTS)
def test_caching_is_private_and_asks_again(path: str, client: httpx.Client) -> None:
    whole = ask(client, path)
    assert whole.headers["cache-control"] == "private, no-cache"
    assert whole.headers["vary"] == "Authorization, Accept-Encoding"


def test_a_refusal_is_not_kept_by_a_cache(server: Server) -> None:
    with server.client() as nobody:
        response = nobody.get(LIVE, headers={"If-None-Match": "*"})
        refused(response, 401)
        assert "etag" not in response.headers


def freshness(server: Server, response: httpx.Response) -> dict[str, Any]:
    """The claims of the freshness token, after verifying it as a client does that knows only the JWK set."""
    token = response.headers["threatcloud-freshness"]
    header = jwt.get_unverified_header(token)
    assert header["typ"] == "freshness+jwt"
    with server.client() as client:
        keys = jwt.PyJWKSet.from_dict(client.get("/.well-known/jwks.json").json())
        pem = client.get("/.well-known/manifest-key.pem").text
    required = ["iss", "iat", "exp"]
    options: Any = {"require": required, "verify_aud": False}
    claims: dict[str, Any] = jwt.decode(token, keys[header["kid"]], algorithms=["EdDSA"], options=options)
    assert claims == jwt.decode(token, pem, algorithms=["EdDSA"], options=options)
    return claims


@pytest.mark.parametrize("path", REPRESENTATIONS + PARTS)
def test_the_freshness_token_names_the_served_publication(
    path: str, server: Server, client: httpx.Client
) -> None:
    whole = ask(client, path)
    claims = freshness(server, whole)
    now = time.time()
    assert now - 120 < claims["iat"] <= now + 1
    assert now + 300 < claims["exp"] < now + 700
    publication = accepted(client.get("/api/publications/current"))
    assert (claims["serial"], claims["digest"]) == (publication["serial"], publication["digest"])
    assert freshness(server, ask(client, path, if_none_match="*")) == claims


def without_id(content: bytes) -> Any:
    body = json.loads(content)
    assert body.pop("request_id")
    return body


WITH_GZIP = [
    "gzip",
    "GZIP",
    "x-gzip",
    "gzip, deflate, br",
    "br,gzip",
    "deflate;q=0.5, gzip;q=1.0",
    "gzip;q=0.001",
    "*",
]


@pytest.mark.parametrize("path", REPRESENTATIONS)
@pytest.mark.parametrize("asked", WITH_GZIP)
def test_gzip_for_who_asks(path: str, asked: str, client: httpx.Client) -> None:
    plain = ask(client, path)
    with client.stream("GET", path, headers={"Accept-Encoding": asked}) as response:
        packed = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == "gzip"
    assert int(response.headers["content-length"]) == len(packed) < len(plain.content) / 2
    for name in VALIDATORS:
        assert response.headers[name] == plain.headers[name]
    unpacked = gzip.decompress(packed)
    assert json.loads(unpacked)["request_id"] == response.headers["x-request-id"]
    assert without_id(unpacked) == without_id(plain.content)
    one_shot = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    assert one_shot.decompress(packed) == unpacked
    assert one_shot.eof and one_shot.unused_data == b""
    by_bytes = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    assert b"".join(by_bytes.decompress(packed[i : i + 1]) for i in range(len(packed))) == unpacked
    with pytest.raises((EOFError, zlib.error)):
        gzip.decompress(packed[:-1])


WITHOUT_GZIP = [
    None,
    "",
    "identity",
    "br",
    "deflate",
    "gzip;q=0",
    "gzip; q=0.0",
    "gzip;q=0.000",
    "*;q=0",
    "identity;q=1, *;q=0",
    "gzip;q=0, *",
    "gzipped",
    "q=1",
]


@pytest.mark.parametrize("path", REPRESENTATIONS)
@pytest.mark.parametrize("asked", WITHOUT_GZIP)
def test_identity_for_everybody_else(path: str, asked: str | None, client: httpx.Client) -> None:
    response = ask(client, path) if asked is None else ask(client, path, accept_encoding=asked)
    assert "content-encoding" not in response.headers
    assert len(accepted(response)) == 5
    assert int(response.headers["content-length"]) == len(response.content)


def test_gzip_that_is_ruled_out_behind_an_asterisk(client: httpx.Client) -> None:
    """RFC 9110 12.5.3: `*` stands for what is not named."""
    assert "content-encoding" not in ask(client, AGENTS, accept_encoding="*;q=1, gzip;q=0").headers


def test_a_part_is_never_compressed_and_complete(client: httpx.Client) -> None:
    response = ask(client, PARTS[0], accept_encoding="gzip")
    assert "content-encoding" not in response.headers
    assert len(accepted(response)) == 5


@pytest.mark.parametrize("path", REPRESENTATIONS)
def test_bodies_are_ascii(path: str, client: httpx.Client) -> None:
    """Guards decode a body chunk by chunk and would break a character on a chunk's boundary."""
    content = ask(client, path).content
    assert content.isascii()
    assert "Schlüssel № 3 🔑" in json.dumps(json.loads(content), ensure_ascii=False)


def test_curl_unpacks_it(server: Server, client: httpx.Client) -> None:
    curl = need_program("curl")
    command = [
        curl,
        "--silent",
        "--fail",
        "--compressed",
        "-H",
        f"Authorization: {client.headers['authorization']}",
    ]
    for path in REPRESENTATIONS:
        done = subprocess.run([*command, server.url + path], capture_output=True, timeout=30, check=True)
        assert without_id(done.stdout) == without_id(ask(client, path).content)


NODE = """
const zlib = require('zlib');
return given.packed.map(base64 => zlib.gunzipSync(Buffer.from(base64, 'base64')).toString());
"""

FETCH = """
const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));
Promise.all(given.urls.map(async url => {
  const response = await fetch(url, {headers: {Authorization: given.key}});
  return [response.headers.get('content-encoding'), await response.json()];
})).then(found => process.stdout.write(JSON.stringify(found)));
"""


def test_node_unpacks_it(server: Server, client: httpx.Client) -> None:
    packed = []
    for path in REPRESENTATIONS:
        with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as response:
            packed.append(base64.b64encode(b"".join(response.iter_raw())).decode())
    texts = in_node(NODE, {"packed": packed})
    assert [without_id(text) for text in texts] == [
        without_id(ask(client, path).content) for path in REPRESENTATIONS
    ]


def test_node_fetches_it(server: Server, client: httpx.Client) -> None:
    given = {"urls": [server.url + path for path in REPRESENTATIONS], "key": client.headers["authorization"]}
    command = [need_program("node"), "-e", FETCH]
    done = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, timeout=60, check=True
    )
    for path, (encoding, body) in zip(REPRESENTATIONS, json.loads(done.stdout), strict=True):
        assert encoding == "gzip"
        assert without_id(json.dumps(body).encode()) == without_id(ask(client, path).content)


def test_no_other_answer_is_compressed(client: httpx.Client) -> None:
    """Compressing what mixes secrets with what a client sent would tell their lengths."""
    for path in (
        "/api/admin/keys",
        "/api/audit-log",
        "/api/openapi/openapi.json",
        "/api/publications/current",
    ):
        assert "content-encoding" not in client.get(path, headers={"Accept-Encoding": "gzip"}).headers


def test_a_new_set_ends_every_condition(server: Server, client: httpx.Client) -> None:
    before = {path: ask(client, path) for path in REPRESENTATIONS}
    text = rule_text("ATR-2026-91009")
    accepted(client.post("/api/admin/rules/import", json={"rules": [{"name": "new.yaml", "text": text}]}))
    for path, old in before.items():
        new = ask(client, path, if_none_match=old.headers["etag"])
        assert len(accepted(new)) == 6
        assert new.headers["etag"] != old.headers["etag"]
        assert new.headers["last-modified"] != old.headers["last-modified"]
        again = ask(client, path, if_modified_since=old.headers["last-modified"])
        assert len(accepted(again)) == 6
        assert freshness(server, new)["serial"] == freshness(server, old)["serial"] + 1
        digests = {hashlib.sha256(r["ruleContent"].encode()).hexdigest() for r in accepted(again)}
        assert len(digests) == 6


def test_conditions_survive_a_restart(server: Server, client: httpx.Client) -> None:
    before = {path: ask(client, path) for path in REPRESENTATIONS}
    server.stop()
    server.start()
    for path, old in before.items():
        new = ask(client, path)
        assert new.headers["etag"] == old.headers["etag"]
        assert new.headers["last-modified"] == old.headers["last-modified"]
        assert without_id(new.content) == without_id(old.content)
        assert ask(client, path, if_none_match=old.headers["etag"]).status_code == 304
    assert datetime.now(UTC) > parsedate_to_datetime(new.headers["last-modified"])
