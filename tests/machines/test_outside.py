"""An installed server as the network sees it: its certificate, its ports, its clients and their addresses."""

import sys
from collections.abc import Iterator

import pytest

from tests.example_rules import proposal
from tests.flows.fleet import new_hash, rule
from tests.machines.conftest import Server
from tests.machines.installation import Installation
from tests.machines.testbed import Testbed
from tests.machines.visitor import HOSTNAME

SECOND_ADDRESS = "198.51.100.2"
KNOCK = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)"


@pytest.fixture(scope="module")
def installation(server: Server) -> Installation:
    return server("outside", "trixie")


@pytest.fixture(scope="module")
def second_address(testbed: Testbed) -> Iterator[str]:
    """Add another address to this end of the network."""
    testbed.run(f"ip address add {SECOND_ADDRESS}/24 dev machines")
    yield SECOND_ADDRESS
    testbed.run(f"ip address delete {SECOND_ADDRESS}/24 dev machines")


def test_its_certificate_is_valid_for_its_name_and_ca_only(installation: Installation) -> None:
    visitor = installation.visitor()
    assert visitor.get("/health").status == 200
    stranger = visitor.curl("/health", check=False)  # without the CA
    assert stranger.code == 60, stranger
    address = f"https://{installation.machine.address}/health"
    other_name = installation.testbed.run(["curl", "--cacert", str(visitor.ca), address], check=False)
    assert other_name.code == 60, other_name


@pytest.mark.parametrize(("version", "taken"), [("1", False), ("1_1", False), ("1_2", True), ("1_3", True)])
def test_old_tls_is_refused(installation: Installation, version: str, taken: bool) -> None:
    done = installation.testbed.run(
        f"openssl s_client -tls{version} -cipher DEFAULT:@SECLEVEL=0 -servername {HOSTNAME}"
        f" -connect {installation.machine.address}:443 -CAfile {installation.visitor().ca}",
        check=False,
    )
    output = done.out + done.err
    assert ("Server certificate" in output) == taken, output
    assert ("alert protocol version" in output) != taken, output


def test_it_speaks_http_2(installation: Installation) -> None:
    visitor = installation.visitor()
    options = [
        "--cacert",
        str(visitor.ca),
        "--http2",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_version}",
    ]
    assert visitor.curl("/health", *options).text == "2"


def test_an_agent_registers_proposes_and_pulls(installation: Installation) -> None:
    registered = installation.visitor().post("/api/clients/register", {"clientId": "guard-of-outside"})
    assert registered.status == 201, registered
    guard = installation.visitor(registered.data["clientKey"])
    proposed = guard.post("/api/atr-proposals", proposal(new_hash(), rule()))
    assert proposed.status == 201, proposed
    rules = guard.get("/api/atr-rules")
    assert rules.status == 200
    assert rules.json["meta"]["total"] > 700  # of 833: those that a Guard can load
    again = guard.get("/api/atr-rules", If_None_Match=rules.headers["etag"])
    assert (again.status, again.body) == (304, "")


def test_only_listed_ports_are_open(installation: Installation) -> None:
    machine = installation.machine
    machine.run("systemd-run --quiet --unit=stray python3 -m http.server 9999")
    machine.run(
        "until curl --silent --output /dev/null http://127.0.0.1:9999/; do sleep 0.1; done", timeout=10
    )
    for port, is_open in ((443, True), (22, True), (9999, False), (8080, False)):
        tried = installation.testbed.run(
            [sys.executable, "-c", KNOCK, machine.address, str(port)], check=False
        )
        assert (tried.code == 0) == is_open, (port, tried)


def test_the_audit_log_has_the_real_address(installation: Installation, second_address: str) -> None:
    installation.visitor().post("/api/clients/register", {"clientId": "from-the-first"})
    lie = {"X-Forwarded-For": "203.0.113.99", "X-Real-IP": "203.0.113.99", "Forwarded": "for=203.0.113.99"}
    installation.visitor().post("/api/clients/register", {"clientId": "liar"}, **lie)
    visitor = installation.visitor()
    body = b'{"clientId": "from-the-second"}'
    visitor.curl(
        "/api/clients/register",
        *("--cacert", str(visitor.ca), "--interface", second_address, "--fail", "--data-binary", "@-"),
        *("--header", "Content-Type: application/json", "--header", f"X-Forwarded-For: {SECOND_ADDRESS}9"),
        stdin=body,
    )
    entries = installation.cli_json("audit", "list", "--limit", "50")
    addresses = {
        entry["address"] for entry in entries if "regist" in entry["action"] or "enrol" in entry["action"]
    }
    assert addresses == {"198.51.100.1", second_address}
