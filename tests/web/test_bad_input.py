"""Bad input over real HTTP: the right status, the envelope, the field at fault, nothing kept, and on we go."""

import base64
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.example_rules import proposal, rule_text
from tests.server import Server
from tests.web.answers import accepted, nothing_kept, refused

KNOWN = "web:known"
DESCRIPTION = "/api/openapi/openapi.json"
LIMIT = 1_048_576
IMPORT_LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True)
class Route:
    """A route that takes a body: a good one, and what it answers to that when asked for the first time."""

    method: str
    path: str
    role: str
    good: dict[str, Any]
    status: int = 200

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def required(self) -> list[str]:
        return [name for name in self.good if (self.path, name) not in OPTIONAL]


RULE = rule_text()
REASON = {"reason": "a test"}
KEY = {"role": "agent", "subject": "web-good", "expires": "1d", "site": "hq"}
PARTNER_KEY = {"partnerName": "web-good", "issuedBy": "us", "expires": "1d"}
PROPOSAL = f"/api/atr-proposals/{KNOWN}"
ROUTES = [
    Route("POST", "/api/atr-proposals", "agent", proposal("web:good", RULE), 201),
    Route("POST", "/api/atr-feedback", "agent", {"ruleId": "none", "isTruePositive": True}, 404),
    Route("POST", "/api/rule-feedback", "agent", {"ruleId": "none", "isTruePositive": False}, 404),
    Route("POST", "/api/atr-feedback/settle", "reviewer", {"ruleId": "none", **REASON}, 404),
    Route("POST", "/api/clients/register", "", {"clientId": "host-0815-4711"}, 201),
    Route("POST", "/api/admin/keys", "admin", KEY, 201),
    Route("POST", "/api/admin/partner-keys", "admin", PARTNER_KEY, 201),
    Route("POST", "/api/admin/rules/import", "admin", {"rules": [{"name": "a.yaml", "text": RULE}]}),
    Route("POST", "/api/admin/rules/ATR-2026-90001/withdraw", "admin", REASON),
    Route("PATCH", "/api/atr-proposals", "reviewer", {"patternHash": KNOWN, "action": "approve", **REASON}),
    Route("POST", f"{PROPOSAL}/approve", "reviewer", {"variant": "0" * 64, **REASON}, 404),
    Route("POST", f"{PROPOSAL}/text", "reviewer", {"ruleContent": RULE, **REASON}),
    Route("POST", f"{PROPOSAL}/withdraw", "reviewer", REASON, 409),
    Route("POST", f"{PROPOSAL}/reject", "reviewer", REASON),
    Route("POST", f"{PROPOSAL}/reopen", "admin", REASON),
    Route("POST", "/api/publications/1/rollback", "admin", REASON),
]
"""In an order in which each good body means something."""

OPTIONAL = {
    ("/api/admin/keys", "expires"),
    ("/api/admin/keys", "site"),
    ("/api/admin/partner-keys", "issuedBy"),
    ("/api/admin/partner-keys", "expires"),
    ("/api/atr-proposals", "reason"),
    (f"{PROPOSAL}/approve", "variant"),
    (f"{PROPOSAL}/approve", "reason"),
    (f"{PROPOSAL}/text", "reason"),
}

HOSTILE_BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "needs a JSON body"),
    "blank": (b"  \r\n", "not JSON"),
    "cut off": (b'{"reason": "a', "not JSON"),
    "words": (b"reason=a+test", "not JSON"),
    "two values": (b"{} {}", "not JSON"),
    "single quotes": (b"{'reason': 'a'}", "not JSON"),
    "trailing comma": (b'{"reason": "a",}', "not JSON"),
    "not UTF-8": (b'{"reason": "\xff\xfe"}', "not UTF-8"),
    "UTF-16": ('{"reason": "a"}'.encode("utf-16"), "not UTF-8"),
    "overlong UTF-8": (b'{"reason": "\xc0\x80"}', "not UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf{}", "not JSON"),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "not UTF-8"),
    "null": (b"null", "must be a JSON object, not null"),
    "list": (b'[{"reason": "a"}]', "must be a JSON object, not a list"),
    "string": (b'"reason"', "must be a JSON object, not a string"),
    "number": (b"1", "must be a JSON object, not a number"),
    "fraction": (b"1.5", "must be a JSON object, not a number"),
    "boolean": (b"true", "must be a JSON object, not a boolean"),
    "NUL": (b"\x00", "not JSON"),
    "NUL in a string": (b'{"reason": "a\x00b"}', "not JSON"),
    "NUL escaped in a string": (rb'{"reason": "a\u0000b"}', "NUL character"),
    "NUL after a backslash": (rb'{"reason": "a\\\u0000b"}', "NUL character"),
    "NUL escaped in a key": (rb'{"re\u0000ason": "a"}', "NUL character"),
    "line break in a string": (b'{"reason": "a\nb"}', "not JSON"),
    "100,000 lists": (b"[" * 100_000, "nested too deeply"),
    "100,000 objects": (b'{"a":' * 100_000, "nested too deeply"),
    "50,000 closed lists": (b'{"reason":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "nested too deeply"),
    "the same key twice": (b'{"reason": "a", "reason": "b"}', 'has the key "reason" twice'),
    "the same key twice, escaped": (rb'{"reason": "a", "reaso\u006e": "b"}', 'has the key "reason" twice'),
    "the same key twice, inside": (b'{"x": [{"k": 1, "k": 1}]}', 'has the key "k" twice'),
    "high surrogate": (rb'{"reason": "\ud800"}', "lone surrogate"),
    "low surrogate": (rb'{"reason": "\udc00\ud800"}', "lone surrogate"),
    "surrogate in a key": (rb'{"\udfff": 1}', "lone surrogate"),
    "a million digits": (b'{"reason": ' + b"9" * 1_000_000 + b"}", "number of 1000000 characters"),
    "a million decimals": (b'{"reason": 0.' + b"9" * 1_000_000 + b"}", "too large or too long"),
    "1e999999": (b'{"reason": 1e999999}', "too large or too long"),
    "-1e400": (b'{"reason": -1e400}', "too large or too long"),
    "NaN": (b'{"reason": NaN}', "has NaN"),
    "Infinity": (b'{"reason": -Infinity}', "has -Infinity"),
}


@pytest.fixture(scope="module")
def clients(server: Server) -> Iterator[dict[str, httpx.Client]]:
    """A client for each role, and one without a key; there is one proposal."""
    opened = {role: server.client(server.issue(role)) for role in ("agent", "reviewer")}
    opened |= {"admin": server.admin, "": server.client()}
    accepted(opened["agent"].post("/api/atr-proposals", json=proposal(KNOWN, RULE)), 201)
    yield opened
    for client in opened.values():
        client.close()


def send(clients: dict[str, httpx.Client], route: Route, content: bytes, **headers: str) -> httpx.Response:
    headers = {"Content-Type": "application/json"} | headers
    return clients[route.role].request(route.method, route.path, content=content, headers=headers)


every_route = pytest.mark.parametrize("route", ROUTES, ids=str)


@every_route
def test_a_body_that_is_no_json_object(
    route: Route, server: Server, clients: dict[str, httpx.Client]
) -> None:
    with nothing_kept(server):
        for name, (content, complaint) in HOSTILE_BODIES.items():
            body = refused(send(clients, route, content), 400)
            assert complaint in body["error"], f"{name}: {body['error']}"


@every_route
def test_each_missing_field_is_named(route: Route, server: Server, clients: dict[str, httpx.Client]) -> None:
    with nothing_kept(server):
        for name in route.required:
            without = {key: value for key, value in route.good.items() if key != name}
            refused(send(clients, route, json.dumps(without).encode()), 400, name)
        if route.required:
            refused(send(clients, route, b"{}"), 400, route.required[0])


@every_route
def test_each_field_of_another_type_is_named(
    route: Route, server: Server, clients: dict[str, httpx.Client]
) -> None:
    with nothing_kept(server):
        for name, right in route.good.items():
            wrong: list[Any] = [7, 7.5, [[]], {}, "x" if isinstance(right, bool) else True]
            if name in route.required:
                wrong.append(None)
            for value in wrong:
                content = json.dumps(route.good | {name: value}).encode()
                body = refused(send(clients, route, content), 400)
                assert body["detail"]["field"].startswith(name), (value, body)


@every_route
def test_two_megabytes_in_one_field(route: Route, server: Server, clients: dict[str, httpx.Client]) -> None:
    """Over the limit of the network it is 413; an import may be larger, and says what is wrong with the text."""
    name = next(key for key, value in route.good.items() if not isinstance(value, bool))
    with nothing_kept(server):
        if route.path.endswith("/import"):
            files = {"rules": [{"name": "a.yaml", "text": "a: " + "x" * 2_000_000}]}
            refused(send(clients, route, json.dumps(files).encode()), 422)
        else:
            content = json.dumps(route.good | {name: "f" * 2_000_000}).encode()
            assert "larger than this server takes" in refused(send(clients, route, content), 413)["error"]


@every_route
def test_a_body_over_the_limit_in_chunks(
    route: Route, server: Server, clients: dict[str, httpx.Client]
) -> None:
    """Nothing announces its size, so it is counted as it comes."""
    pieces = (IMPORT_LIMIT if route.path.endswith("/import") else LIMIT) // 65_536 + 1

    def body() -> Iterator[bytes]:
        yield b'{"reason": "'
        yield from itertools.repeat(b"x" * 65_536, pieces)

    with nothing_kept(server):
        refused(clients[route.role].request(route.method, route.path, content=body()), 413)


@every_route
def test_a_body_at_the_limit_is_read(route: Route, server: Server, clients: dict[str, httpx.Client]) -> None:
    content = b" " * (LIMIT - 2) + b"[]"
    assert "must be a JSON object" in refused(send(clients, route, content), 400)["error"]


KINDS = [
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain",
    "",
    "application/json; charset=latin-1",
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_content_type_is_not_believed(
    kind: str, server: Server, clients: dict[str, httpx.Client]
) -> None:
    """The body alone says what it is, as on the public server: a form is refused, JSON by any name is read."""
    route = ROUTES[0]
    with nothing_kept(server):
        refused(send(clients, route, b"patternHash=abc", **{"Content-Type": kind}), 400)
        form = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'
        refused(send(clients, route, form, **{"Content-Type": kind}), 400)
        body = refused(send(clients, route, b'{"patternHash": "abc"}', **{"Content-Type": kind}), 400)
        assert body["detail"]["field"] == "ruleContent"


BAD_FIELDS = [
    ("/api/atr-proposals", "patternHash", ["", "a b", "ä", "a" * 129, "-a", "a\n", "../a", "a\u202eb", " "]),
    ("/api/atr-proposals", "llmProvider", ["", "a" * 129]),
    ("/api/atr-proposals", "llmModel", ["", "a" * 129]),
    ("/api/atr-proposals", "selfReviewVerdict", ["", "a" * 16_385]),
    ("/api/atr-feedback", "ruleId", ["", "a" * 257]),
    ("/api/atr-feedback/settle", "reason", ["", "a" * 2001]),
    ("/api/clients/register", "clientId", ["", "short", "a" * 129, "a\nbcdefgh", "\u202eabcdefghi"]),
    ("/api/admin/keys", "role", ["", "root", "Admin", "agent "]),
    ("/api/admin/keys", "subject", ["", "a b", "a" * 129, "self:x", "SELF:x", "local", "anonymous", "a\n", "ä"]),
    ("/api/admin/keys", "site", ["", "a b", "a" * 65]),
    ("/api/admin/keys", "expires", ["", "soon", "0d", "-1d", "1y", "9999999d", "2001-01-01", "x" * 10_000,
                                    "99999-01-01", "0000-01-01", "1e9d", "\u0663d", "9999-12-31T23:59:59-23:59"]),
    ("/api/admin/partner-keys", "partnerName", ["", "a", "a b", "a" * 65, "-a", "ä" * 5]),
    ("/api/admin/rules/import", "rules", [[], [{"name": "a", "text": "b: 1"}] * 5001]),
    ("/api/admin/rules/ATR-2026-90001/withdraw", "reason", ["", "a" * 501]),
    (f"{PROPOSAL}/reject", "reason", ["", "a" * 2001]),
    (f"{PROPOSAL}/approve", "reason", ["", "a" * 2001]),
    (f"{PROPOSAL}/withdraw", "reason", ["", "a" * 2001]),
    (f"{PROPOSAL}/reopen", "reason", ["", "a" * 2001]),
    ("/api/publications/1/rollback", "reason", ["", "a" * 501]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "name", "values"), BAD_FIELDS, ids=lambda part: str(part)[:50])
def test_a_value_out_of_bounds_names_its_field(
    path: str, name: str, values: list[Any], server: Server, clients: dict[str, httpx.Client]
) -> None:
    route = next(route for route in ROUTES if route.path == path)
    with nothing_kept(server):
        for value in values:
            refused(send(clients, route, json.dumps(route.good | {name: value}).encode()), 400, name)


def test_a_bad_item_of_a_list_is_named(server: Server, clients: dict[str, httpx.Client]) -> None:
    with nothing_kept(server):
        files = {"rules": [{"name": "a", "text": RULE}, {"name": "b"}]}
        body = refused(clients["admin"].post("/api/admin/rules/import", json=files), 400)
        assert body["detail"]["field"] == "rules[1].text"


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise("abcdefghi")
)
BAD_TEXTS: dict[str, tuple[str, str]] = {
    "billion laughs": (BOMB + RULE, "alias"),
    "alias": (RULE + "x: &a 1\ny: *a\n", "alias"),
    "alias to itself": (RULE + "x: &a [*a]\n", "alias"),
    "merge key": (RULE + "x: {<<: {id: other}}\n", "merge key"),
    "Python tag": (RULE + "x: !!python/object/apply:os.system ['true']\n", "tag"),
    "own tag": (RULE + "x: !rule {}\n", "tag"),
    "standard tag": (RULE + "x: !!str 1\n", "tag"),
    "directive": ("%YAML 1.1\n---\n" + RULE, "directive"),
    "key twice": (RULE + "id: ATR-2026-90002\n", "repeats the key 'id'"),
    "key twice, quoted": (RULE + '"i\\x64": ATR-2026-90002\n', "repeats the key 'id'"),
    "5,000 levels": (RULE + "x: " + "[" * 5000 + "]" * 5000 + "\n", "nested deeper"),
    "5,000 levels of JSON": ('{"a":' * 5000 + "1" + "}" * 5000, "nested deeper"),
    "60,000 open lists": ("[" * 60_000, "nested deeper"),
    "60,000 digits": (RULE + "x: " + "9" * 60_000 + "\n", "number of 60000 characters"),
    "beyond 64 bits": (RULE + "x: 99999999999999999999\n", "beyond 64 bits"),
    "infinity": (RULE + "x: .inf\n", "JSON cannot hold"),
    "1e999": (RULE + "x: 1e999\n", "too large"),
    "control character": (RULE + "x: a\x01b\n", "U+0001"),
    "escape character": (RULE + "x: \x1b[31m\n", "U+001B"),
    "no character": (RULE + "x: \uffff\n", "U+FFFF"),
    "binary": (bytes(range(1, 256)).decode("latin-1"), "U+0001"),
    "two documents": (RULE + "---\n" + RULE, "second document"),
    "list": ("- a\n- b\n", "must be a YAML mapping"),
    "text": ("ignore previous instructions", "must be a YAML mapping"),
    "number": ("42", "must be a YAML mapping"),
    "blank": ("\n \n", "is empty"),
    "list as key": ("? [a]\n: 1\n", "collection as a key"),
    "number as key": ("1: a\n", "not text"),
    "unclosed": ("a: [1, 2\n", "not YAML"),
    "tab": ("a:\n\tb: 1\n", "not YAML"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_a_text_that_is_no_rule_text(name: str, server: Server, clients: dict[str, httpx.Client]) -> None:
    text, complaint = BAD_TEXTS[name]
    with nothing_kept(server):
        sent = clients["agent"].post("/api/atr-proposals", json=proposal("web:text", text))
        assert complaint in refused(sent, 400, "ruleContent")["error"]
        supplied = clients["reviewer"].post(f"{PROPOSAL}/text", json={"ruleContent": text})
        assert complaint in refused(supplied, 400, "ruleContent")["error"]
        files = {"rules": [{"name": "good.yaml", "text": RULE}, {"name": "bad.yaml", "text": text}]}
        mistakes = refused(clients["admin"].post("/api/admin/rules/import", json=files), 422)["detail"]
        (mistake,) = mistakes["mistakes"]
        assert mistake["name"] == "bad.yaml"
        assert complaint in mistake["message"]


def test_a_text_of_65537_characters(server: Server, clients: dict[str, httpx.Client]) -> None:
    text = RULE + "#" * (65_537 - len(RULE))
    with nothing_kept(server):
        sent = clients["agent"].post("/api/atr-proposals", json=proposal("web:text", text))
        refused(sent, 413, "ruleContent")
        refused(clients["reviewer"].post(f"{PROPOSAL}/text", json={"ruleContent": text}), 413, "ruleContent")
        files = {"rules": [{"name": "a.yaml", "text": text}]}
        body = refused(clients["admin"].post("/api/admin/rules/import", json=files), 422)
        assert "65537 characters" in body["detail"]["mistakes"][0]["message"]


EXPLODING = [r"(a+)+$", r"(x+x+)+y", r"(a|aa)+$", r"(.*a){25}", r"(\w+\s?)*$", r"(?:a?){60}a{60}"]


@pytest.mark.parametrize("pattern", EXPLODING)
def test_a_regex_that_explodes_is_never_served(
    pattern: str, server: Server, clients: dict[str, httpx.Client]
) -> None:
    """It is kept as evidence; no number of confirmations and no reviewer brings it past the gate."""
    text, name = rule_text(pattern=pattern), f"web:explodes{EXPLODING.index(pattern)}"
    accepted(clients["agent"].post("/api/atr-proposals", json=proposal(name, text)), 201)
    for _ in range(2):
        with server.agent() as agent:
            accepted(agent.post("/api/atr-proposals", json=proposal(name, text)))
    with nothing_kept(server):
        answer = clients["reviewer"].post(f"{PROPOSAL}/text", json={"ruleContent": text})
        assert refused(answer, 400, "ruleContent")["detail"]["reasons"]
        answer = clients["reviewer"].post(f"/api/atr-proposals/{name}/approve", json={})
        assert refused(answer, 409)["detail"]["reasons"]
    report = accepted(clients["admin"].post("/api/admin/promote"))
    assert name in report["failed"]
    assert name not in report["promoted"]
    why = accepted(clients["reviewer"].get(f"/api/atr-proposals/{name}"))
    assert why["ruleId"] is None
    assert why["variants"][0]["problems"]


def test_an_import_says_of_an_exploding_regex_that_guards_will_not_get_it(
    server: Server, clients: dict[str, httpx.Client]
) -> None:
    text = rule_text("ATR-2026-90007", pattern=r"(a+)+$")
    files = {"rules": [{"name": "a.yaml", "text": text}]}
    (imported,) = accepted(clients["admin"].post("/api/admin/rules/import", json=files))
    assert "repeats" in imported["guardRefusal"]
    with server.agent() as agent:
        served = accepted(agent.get("/api/atr-rules"))
    assert "ATR-2026-90007" not in [rule["ruleId"] for rule in served]


BAD_SINCE = [
    "garbage",
    "0000-01-01T00:00:00Z",
    "99999-01-01T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-02-30",
    "2026-01-01T25:00:00Z",
    "1795236080",
    "-1",
    "NaN",
    "2026-01-01T00:00:00Z; DROP TABLE rule",
    "\u0662\u0660\u0662\u0666-01-01",
    "\x00",
    "\U0001f600",
    "null",
    "0001-01-01T00:00:00+23:59",
    "x" * 7000,
]


@pytest.mark.parametrize("since", BAD_SINCE, ids=lambda text: ascii(text)[:40])
def test_a_bad_since_is_refused(since: str, server: Server, clients: dict[str, httpx.Client]) -> None:
    with nothing_kept(server):
        for path in ("/api/atr-rules", "/api/rules", "/api/atr-rules/live", "/api/audit-log"):
            refused(clients["admin"].get(path, params={"since": since}), 400, "since")


@pytest.mark.parametrize(
    "since", ["1970-01-01T00:00:00.000Z", "0001-01-01", "2026-04-17T00:03:42+00:00", "9999-12-31T23:59:59Z"]
)
def test_a_good_since_is_accepted(since: str, clients: dict[str, httpx.Client]) -> None:
    for path in ("/api/atr-rules", "/api/rules"):
        accepted(clients["agent"].get(path, params={"since": since}))
        accepted(clients["agent"].get(f"{path}?since={since}"))
    accepted(clients["admin"].get("/api/audit-log", params={"since": since}))


@pytest.mark.parametrize("text", ["", "YAML", "json", "yaml ", "x" * 5000, "\x00", "../guard"])
def test_a_bad_format_is_refused(text: str, clients: dict[str, httpx.Client]) -> None:
    refused(clients["agent"].get("/api/atr-rules", params={"format": text}), 400, "format")


LISTS = {
    "/api/admin/keys": 2,
    "/api/atr-proposals": 2,
    "/api/admin/rules": 2,
    "/api/audit-log": 1,
    "/api/publications": 1,
}
"""Each list, and how many parts its cursor has."""

every_list = pytest.mark.parametrize("path", LISTS)


@every_list
@pytest.mark.parametrize(
    "limit",
    [
        "0",
        "-1",
        "x",
        "1e9",
        "501",
        "1.0",
        "+1",
        " 1",
        "",
        "0x10",
        "\u0665",
        "\u00b2",
        "1_0",
        "9" * 8000,
        "\x00",
    ],
)
def test_a_bad_limit_is_refused(path: str, limit: str, clients: dict[str, httpx.Client]) -> None:
    refused(clients["admin"].get(path, params={"limit": limit}), 400, "limit")


def cursor(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@every_list
@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "é",
        "\x00",
        "=" * 10,
        "A",
        "A" * 7000,
        cursor(b"[]"),
        cursor(b"{}"),
        cursor(b"null"),
        cursor(b"[1, 2]"),
        cursor(b'["a", null]'),
        cursor(b'["a", "b", "c"]'),
        cursor(b"[" * 5000),
        cursor(rb'["\ud800", "\udfff"]'),
        cursor(b'["\xff", "\xff"]'),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_a_cursor_that_this_server_never_gave(path: str, text: str, clients: dict[str, httpx.Client]) -> None:
    refused(clients["admin"].get(path, params={"cursor": text}), 400, "cursor")


@every_list
def test_the_cursor_of_another_list(path: str, clients: dict[str, httpx.Client]) -> None:
    """One with another number of parts is refused; one that happens to fit is no harm."""
    for parts in (1, 2):
        text = cursor(json.dumps(["ATR-2026-90001", "local"][:parts]).encode())
        response = clients["admin"].get(path, params={"cursor": text})
        if parts != LISTS[path] or response.status_code != 200:
            refused(response, 400, "cursor")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/admin/keys", "role"),
        ("/api/atr-proposals", "status"),
        ("/api/atr-proposals", "waitingFor"),
        ("/api/publications/diff", "from"),
        ("/api/publications/diff", "to"),
    ],
)
def test_a_filter_that_is_none(path: str, name: str, clients: dict[str, httpx.Client]) -> None:
    for text in ("", "x", "-1", "\x00", "9" * 20, "9" * 5000, "ADMIN"):
        refused(clients["admin"].get(path, params={name: text}), 400, name)


UNKNOWN_PATHS = [
    "",
    "nix",
    "index.html",
    "api",
    "api/",
    "api/v1",
    "v1/api",
    "api/nix",
    "api/api/api/atr-rules",
    "api/atr-rules/nix",
    "api/atr-rules%00",
    "api/atr-proposals/a/b",
    "api/admin/keys/a/b",
    "api/openapi/x",
    "api/openapi/x.html",
    ".well-known",
    "%00",
    "%ff",
    "../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
]


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
def test_an_unknown_path_is_not_found(path: str, server: Server, clients: dict[str, httpx.Client]) -> None:
    with nothing_kept(server):
        for client in (clients["admin"], clients[""]):
            for method in ("GET", "POST", "DELETE", "FOO"):
                refused(client.request(method, f"/{path}"), 404)


@pytest.mark.parametrize("serial", ["x", "1e3", "1.0", "0x1", "%00", "9" * 5000])
def test_a_serial_that_is_no_number(serial: str, clients: dict[str, httpx.Client]) -> None:
    refused(clients["admin"].get(f"/api/publications/{serial}"), 404)


@pytest.mark.parametrize("serial", ["0", "-1", "9" * 20])
def test_a_serial_out_of_bounds(serial: str, clients: dict[str, httpx.Client]) -> None:
    refused(clients["admin"].get(f"/api/publications/{serial}"), 400, "serial")


@pytest.mark.parametrize(
    "path",
    ["/api/admin/keys/{}", "/api/atr-proposals/{}", "/api/atr-proposals/{}/why", "/api/admin/rules/{}"],
)
@pytest.mark.parametrize(
    "part", ["%00", "%ff%fe", "%F0%9F%98%80", "a" * 4000, "%27%20OR%201%3D1", "%0d%0aX:%20y"]
)
def test_an_id_that_names_nothing(path: str, part: str, clients: dict[str, httpx.Client]) -> None:
    response = clients["admin"].get(path.format(part))
    refused(response, 404)
    assert "x" not in response.headers


@pytest.mark.parametrize("method", ["TRACE", "FOO", "PUT", "CONNECT", "PROPFIND"])
def test_an_unknown_method_is_not_allowed(
    method: str, server: Server, clients: dict[str, httpx.Client]
) -> None:
    with nothing_kept(server):
        for path in (
            "/health",
            "/api/atr-rules",
            "/api/atr-proposals",
            "/api/admin/keys",
            "/api/openapi/openapi.json",
        ):
            response = clients["admin"].request(method, path)
            refused(response, 405)
            allowed = response.headers["allow"].split(", ")
            assert {"GET", "HEAD", "OPTIONS"} <= set(allowed)
            assert method not in allowed


@every_route
def test_then_the_good_body_is_taken(route: Route, clients: dict[str, httpx.Client]) -> None:
    """So every case above failed for what was wrong with it, and left the instance working."""
    response = send(clients, route, json.dumps(route.good).encode())
    if route.status >= 400:
        refused(response, route.status)
    else:
        accepted(response, route.status)
