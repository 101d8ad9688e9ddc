"""The daily work of an admin: check the server, rotate keys, import a bundle, uninstall."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flows.fleet import rule
from tests.machines.conftest import Server
from tests.machines.installation import Installation
from tests.machines.running import Running
from tests.server import Server as Local

KEY_FILE = "/etc/threatcloud/outside.pem"
RULE = "ATR-2026-91001"
UPSTREAMS: dict[str, Any] = {
    "threatcloud_upstreams": [
        {"name": "atr", "kind": "package", "package": "pyatr"},
        {"name": "outside", "kind": "bundle", "key_file": KEY_FILE},
    ]
}


@pytest.fixture(scope="module")
def installation(server: Server) -> Installation:
    return server("everyday", "bookworm")


@pytest.fixture(scope="module")
def running(installation: Installation) -> Running:
    return Running.begin(installation)


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Start an instance on the other side of the air gap that has one rule."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "rule.yaml").write_text(rule(rule_id=RULE))
    with Local(folder / "instance") as local:
        local.cli("rule", "import", str(folder / "rule.yaml"))
        yield local


def one_line(output: str) -> str:
    return " ".join(output.split())


def test_the_doctor_finds_nothing_and_then_something(running: Running) -> None:
    installation = running.installation
    recap = installation.playbook("doctor")
    assert (recap.clean, recap.changed) == (True, 0), recap.output
    installation.machine.run("systemctl stop threatcloud-backup.timer")
    try:
        recap = installation.playbook("doctor")
    finally:
        installation.machine.run("systemctl start threatcloud-backup.timer")
    assert recap.failed == 1, recap.output
    assert "everyday needs attention: FAIL units:" in one_line(recap.output)


def test_rotating_keys(running: Running) -> None:
    installation, before = running.installation, running.evidence()
    kids = {key["kid"] for key in installation.cli_json("signing-key", "list")}
    recap = installation.playbook("rotate_keys", threatcloud_rotate="access")
    assert recap.clean, recap.output
    assert len({key["kid"] for key in installation.cli_json("signing-key", "list")} - kids) == 1
    assert running.evidence() == before, "tokens of the old key stay valid"

    certificate = "openssl x509 -noout -serial -in /etc/threatcloud/tls/server.pem"
    old = installation.machine.run(certificate).text
    recap = installation.playbook("rotate_keys", threatcloud_rotate="tls")
    assert recap.clean, recap.output
    assert installation.machine.run(certificate).text != old
    assert running.evidence() == before, "the CA is the same"

    recap = installation.playbook("rotate_keys", threatcloud_rotate="rule")
    assert (recap.failed, recap.changed) == (1, 0), recap.output
    assert "add -e threatcloud_rotate_accept=true" in one_line(recap.output)


def test_importing_a_bundle(running: Running, outside: Local, tmp_path: Path) -> None:
    installation = running.installation
    pem = tmp_path / "outside.pem"
    pem.write_text(httpx.get(f"{outside.url}/.well-known/manifest-key.pem").text)
    installation.machine.put(pem, KEY_FILE)
    recap = installation.playbook("install", **UPSTREAMS)
    assert recap.clean, recap.output
    bundle = tmp_path / "rules.tcbundle"
    outside.cli("bundle", "export", "--output", str(bundle))

    forged = tmp_path / "forged.tcbundle"
    content = bytearray(bundle.read_bytes())
    content[-200] ^= 1
    forged.write_bytes(content)
    refused = installation.playbook("import_bundle", threatcloud_bundle_file=str(forged), **UPSTREAMS)
    assert refused.failed == 1, refused.output
    assert installation.cli("rule", "show", RULE, check=False).code == 1

    recap = installation.playbook("import_bundle", threatcloud_bundle_file=str(bundle), **UPSTREAMS)
    assert recap.clean, recap.output
    assert "1 added" in one_line(recap.output)
    assert installation.cli_json("rule", "show", RULE)
    receipt = bundle.with_name(bundle.name + ".receipt")
    importer = tmp_path / "importer.pem"
    importer.write_text(installation.visitor().get("/.well-known/manifest-key.pem").body)
    outside.cli("bundle", "verify", str(receipt), "--receipt", "--key", str(importer))


def test_uninstalling_keeps_the_data_unless_it_is_to_be_removed(running: Running) -> None:
    installation, machine, before = running.installation, running.installation.machine, running.evidence()
    recap = installation.playbook("uninstall")
    assert recap.clean, recap.output
    assert machine.run("ls /opt").text == ""
    assert machine.run("systemctl list-unit-files --no-legend 'threatcloud*'", check=False).text == ""
    assert machine.run("ss --no-header --listening --tcp 'sport = :443 or sport = :8080'").text == ""
    assert "threatcloud" not in machine.run("nft list ruleset").text
    machine.run("nginx -t")
    assert installation.playbook("uninstall").changed == 0

    recap = installation.playbook("install", **UPSTREAMS)
    assert recap.clean, recap.output
    assert running.evidence() == before

    recap = installation.playbook("uninstall", threatcloud_remove_data=True)
    assert recap.clean, recap.output
    left = machine.run(
        "find / -xdev -iname '*threatcloud*' -not -path '/proc/*' -not -path '/var/log/journal/*'"
    ).text
    assert left == ""
    assert machine.run("getent passwd threatcloud; getent group threatcloud", check=False).text == ""
