"""The shipped relay, run by a real nginx: a client that refuses private addresses reaches the instance through it.

The configuration is the one that `fleet config` prints; only its folders and its port are others.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.fleet.host_config import relay_configuration
from tests.clients.certificates import Authority
from tests.clients.host import mark
from tests.clients.nginx import Nginx, has_ipv6, listening
from tests.clients.packages import need_node
from tests.flows.fleet import eventually, instance
from tests.needs import lacking
from tests.published import COUNT
from tests.server import REPOSITORY, Server, free_port

RELAY = "threatcloud-relay.test"
DRIVER = Path(__file__).with_name("newest_guard.cjs")
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
THREAT = {
    "attackSourceIP": "45.83.0.0",
    "attackType": "prompt-injection",
    "mitreTechnique": "T1059",
    "sigmaRuleMatched": "none",
    "timestamp": "2026-11-20T10:11:12.000Z",
    "region": "DE",
}
RULES: dict[str, Any] = {"method": "GET", "path": "/api/atr-rules?since=1970-01-01T00:00:00.000Z"}
REPORT: dict[str, Any] = {"method": "POST", "path": "/api/threats", "body": {"events": [THREAT]}}
LOADABLE = 731
"""So many of the 785 published rules at least can a newest Guard load."""
HOST_ADDRESS = "127.0.0.7"
"""Stands for the address that a host has on the network."""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, published_rules: list[Path]) -> Iterator[Server]:
    """An instance that serves the 785 published rules, and believes what a proxy on loopback says of addresses."""
    folder = tmp_path_factory.mktemp("instance")
    options = {"consensus_cycle_seconds": 86_400, "access_trusted_proxies": "127.0.0.1/32"}
    with instance(folder, **options) as running:
        running.cli("rule", "import", str(published_rules[0].parent.parent))
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The organisation's CA, with the files of a host and of the server."""
    authority = Authority(tmp_path_factory.mktemp("ca"))
    authority.sign("relay", RELAY)
    authority.sign("client")
    authority.sign("server", "localhost", RELAY)
    return authority


def relay(folder: Path, authority: Authority, url: str, port: int, **changes: str) -> Nginx:
    """The shipped relay to `url`; `changes` are replacements in it."""
    text = relay_configuration(url, RELAY, folder=str(authority.folder), run=str(folder), port=port)
    return Nginx(folder, changed(text, changes), port)


def changed(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, authority: Authority, server: Server) -> Iterator[Nginx]:
    """A relay to the instance itself, over plain http."""
    with relay(tmp_path_factory.mktemp("relay"), authority, server.url, free_port()) as running:
        yield running


FRONT = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off; client_max_body_size 64m;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        listen [::1]:{port} ssl;
        ssl_certificate {ca}/server.pem; ssl_certificate_key {ca}/server.key;
        {verify}
        location / {{
            proxy_pass {url};
            proxy_buffering off;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""
"""TLS in front of the instance, as an organisation has it."""


def front(folder: Path, authority: Authority, url: str, *, client_certificate: bool) -> Nginx:
    port = free_port()
    verify = (
        f"ssl_client_certificate {authority.folder}/ca.pem; ssl_verify_client on;"
        if client_certificate
        else ""
    )
    text = FRONT.format(folder=folder, port=port, ca=authority.folder, url=url, verify=verify)
    return Nginx(folder, text, port)


def guard(
    server: Server,
    through: Nginx,
    calls: list[dict[str, Any]],
    *,
    ca: Path | None,
    key: str | None = None,
    address: str = "127.0.0.1",
    headers: dict[str, str] | None = None,
) -> list[dict[str, Any]]:
    """What a newest Guard gets whose hosts file says that the relay is at `address`."""
    with server.client() as anybody:
        rule_key = anybody.get("/.well-known/rule-key.pem").text
    given = {
        "endpoint": f"https://{RELAY}:{through.port}",
        "key": key,
        "hosts": {RELAY: address},
        "headers": headers or {},
        "calls": calls,
    }
    environ = {"PATH": os.environ["PATH"], "PANGUARD_RULE_PUBKEY": rule_key}
    if ca is not None:
        environ["NODE_EXTRA_CA_CERTS"] = str(ca / "ca.pem")
    done = subprocess.run(
        [need_node(), str(DRIVER)], input=json.dumps(given), env=environ,
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def logged_since(server: Server, start: str) -> str:
    """What the instance's log has after a mark, in whole lines."""
    return server.log.read_text().partition(start)[2].partition("\n")[2].rpartition("\n")[0]


def addresses(server: Server, path: str, start: str) -> set[str]:
    """The addresses that the instance logged for a path since a mark."""

    def seen() -> set[str]:
        lines = [
            json.loads(line) for line in logged_since(server, start).splitlines() if line.startswith("{")
        ]
        return {line["address"] for line in lines if line.get("path") == path}

    eventually(lambda: bool(seen()), f"a request for {path} in the log")
    return seen()


def test_a_guard_without_a_key_enrols_itself_pulls_the_rules_and_reports(
    server: Server, plain: Nginx, authority: Authority
) -> None:
    register: dict[str, Any] = {
        "method": "POST",
        "path": "/api/clients/register",
        "body": {"clientId": "a" * 36},
    }
    calls = [register, RULES, REPORT, {"method": "GET", "path": "/api/skill-blacklist"}]
    registered, rules, reported, listed = guard(server, plain, calls, ca=authority.folder)
    assert registered["status"] == 201
    assert rules["status"] == 200
    assert rules["rules"] == rules["verified"] >= LOADABLE
    assert "content-encoding" not in rules["headers"]
    assert reported["status"] == 201
    assert listed["status"] == 200
    assert not list((plain.folder / "proxy").rglob("*")), "the relay wrote an answer to disk"


def test_all_785_rules_come_through_with_signatures_that_hold(
    server: Server, plain: Nginx, authority: Authority
) -> None:
    calls = [{**RULES, "path": "//api/atr-rules?format=yaml"}]  # and the path arrives as it was sent
    (rules,) = guard(server, plain, calls, ca=authority.folder, key=server.issue("agent"))
    assert (rules["status"], rules["rules"], rules["verified"]) == (200, COUNT, COUNT)


def test_a_revoked_key_is_refused_through_the_relay(
    server: Server, plain: Nginx, authority: Authority
) -> None:
    key = server.issue("agent", "revoked-guard")
    assert guard(server, plain, [REPORT], ca=authority.folder, key=key)[0]["status"] == 201
    (listed,) = server.cli_json("key", "list", "--subject", "revoked-guard")
    server.cli("key", "revoke", listed["id"])
    answers = guard(server, plain, [RULES, REPORT], ca=authority.folder, key=key)
    assert [answer["status"] for answer in answers] == [401, 401]


def test_the_relay_listens_on_loopback_only(plain: Nginx) -> None:
    assert listening(plain.port) == ({"127.0.0.1", "::1"} if has_ipv6() else {"127.0.0.1"})


def test_what_a_guard_does_not_accept(
    server: Server, plain: Nginx, authority: Authority, tmp_path: Path
) -> None:
    key = server.issue("agent")
    (blocked,) = guard(server, plain, [RULES], ca=authority.folder, key=key, address="10.1.2.3")
    assert blocked == {"error": "ESSRFBLOCKED"}
    (untrusted,) = guard(server, plain, [RULES], ca=None, key=key)
    assert untrusted == {"error": "UNABLE_TO_VERIFY_LEAF_SIGNATURE"}


def test_nobody_behind_the_relay_can_write_an_address(
    server: Server, plain: Nginx, authority: Authority
) -> None:
    """The instance believes the relay here, so a header that passed through would be believed too."""
    start = mark(server)
    forged = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    calls = [{"method": "GET", "path": "/api/skill-whitelist"}]
    (answer,) = guard(server, plain, calls, ca=authority.folder, key=server.issue("agent"), headers=forged)
    assert answer["status"] == 200
    assert addresses(server, "/api/skill-whitelist", start) == {"127.0.0.1"}


def test_the_server_answers_for_what_is_too_large(server: Server, plain: Nginx, authority: Authority) -> None:
    limit = 1_048_576
    calls = [{"method": "POST", "path": "/api/threats", "pad": size} for size in (limit - 100, 4 * limit)]
    taken, refused = guard(server, plain, calls, ca=authority.folder, key=server.issue("agent"))
    assert taken["status"] in {201, 400}  # read to its end, and found to hold no event
    assert refused["status"] == 413
    assert '"ok":false' in refused["text"]


def test_gzip_is_for_who_asks_for_it(server: Server, plain: Nginx, authority: Authority) -> None:
    calls = [{"method": "HEAD", "path": "/api/atr-rules"}]
    (answer,) = guard(
        server,
        plain,
        calls,
        ca=authority.folder,
        key=server.issue("agent"),
        headers={"Accept-Encoding": "gzip"},
    )
    assert answer["headers"]["content-encoding"] == "gzip"


def test_tls_and_a_client_certificate_up_to_the_server(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    """Only the relay with a certificate gets through, and the server sees the address of the relay's host."""
    key = server.issue("agent")
    certificate = {"# proxy_ssl_certificate": "proxy_ssl_certificate"}
    as_host = {
        "server localhost:": "server 127.0.0.1:",
        "proxy_http_version": f"proxy_bind {HOST_ADDRESS}; proxy_http_version",
    }
    start = mark(server)
    with front(tmp_path / "front", authority, server.url, client_certificate=True) as outer:
        url = f"https://localhost:{outer.port}"
        with relay(tmp_path / "with", authority, url, free_port(), **certificate, **as_host) as inner:
            rules, reported = guard(server, inner, [RULES, REPORT], ca=authority.folder, key=key)
        assert (rules["status"], reported["status"]) == (200, 201)
        assert rules["rules"] == rules["verified"] > 0
        with relay(tmp_path / "without", authority, url, free_port()) as inner:
            (refused,) = guard(server, inner, [RULES], ca=authority.folder, key=key)
        assert refused["status"] == 400  # nginx's own: no required certificate was sent
    assert addresses(server, "/api/threats", start) == {HOST_ADDRESS}


def test_a_server_with_another_name_or_ca_is_sent_nothing(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    key = server.issue("agent")
    usage = {"method": "POST", "path": "/api/usage", "body": {"event_type": "cli_scan", "source": "cli-user"}}
    stranger = Authority(tmp_path / "other-ca")
    stranger.sign("server", "localhost")
    authority.sign("misnamed", "another.test")
    start = mark(server)
    misnamed = Authority(tmp_path / "misnamed-ca")
    for name in ("pem", "key"):
        (misnamed.folder / f"server.{name}").write_bytes((authority.folder / f"misnamed.{name}").read_bytes())
    for signer in (stranger, misnamed):
        folder = tmp_path / signer.folder.name
        with front(folder / "front", signer, server.url, client_certificate=False) as outer:
            url = f"https://localhost:{outer.port}"
            with relay(folder / "relay", authority, url, free_port()) as inner:
                (answer,) = guard(server, inner, [usage], ca=authority.folder, key=key)
                assert answer["status"] == 502
    mark(server)  # what came before it is in the log by now
    assert "/api/usage" not in logged_since(server, start)


def test_a_server_that_was_away_is_found_again(server: Server, authority: Authority, tmp_path: Path) -> None:
    key = server.issue("agent")
    port = free_port()
    with relay(tmp_path / "relay", authority, f"http://127.0.0.1:{port}", free_port()) as inner:
        (away,) = guard(server, inner, [REPORT], ca=authority.folder, key=key)
        assert away["status"] == 502
        text = FRONT.format(
            folder=tmp_path / "back", port=port, ca=authority.folder, url=server.url, verify=""
        )
        with Nginx(tmp_path / "back", text.replace(f"{port} ssl", str(port)), port):
            (back,) = guard(server, inner, [REPORT], ca=authority.folder, key=key)
        assert back["status"] == 201


def test_the_relay_that_hands_on_bytes(server: Server, authority: Authority, tmp_path: Path) -> None:
    if not STREAM_MODULE.exists():
        lacking("nginx's stream module (package libnginx-mod-stream)")
    port = free_port()
    shipped = (REPOSITORY / "deploy" / "guard-relay" / "nginx-stream.conf").read_text()
    with front(tmp_path / "front", authority, server.url, client_certificate=False) as outer:
        changes = {
            "proxy_pass threatcloud.corp.example:443": f"proxy_pass 127.0.0.1:{outer.port}",
            ":8443": f":{port}",
            "/run/threatcloud-relay": str(tmp_path / "stream"),
        }
        with Nginx(tmp_path / "stream", changed(shipped, changes), port) as through:
            calls = [RULES, REPORT]
            rules, reported = guard(server, through, calls, ca=authority.folder, key=server.issue("agent"))
            assert listening(port) == ({"127.0.0.1", "::1"} if has_ipv6() else {"127.0.0.1"})
    assert (rules["status"], reported["status"]) == (200, 201)
    assert rules["rules"] == rules["verified"] > 0


def test_no_private_key_and_no_place_of_this_machine_is_in_the_shipped_files() -> None:
    for path in (REPOSITORY / "deploy" / "guard-relay").rglob("*"):
        if path.is_file():
            assert not re.search(r"PRIVATE KEY|eyJ|/home/|/root/", path.read_text())
