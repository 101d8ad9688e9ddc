"""Wrong variables and unfit machines are refused with a sentence that says what to do, before anything is changed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.certificates import Authority
from tests.machines.bed import Bed
from tests.machines.installation import Installation
from tests.machines.visitor import HOSTNAME

TRACES = (
    "find /etc /opt /usr /var/lib /var/backups /home /srv -newer /root/before -not -path '/var/lib/systemd/*'"
)
"""What was made or changed since /root/before was; systemd writes of its own accord."""


@pytest.fixture(scope="module")
def bare(bed: Bed, this_release: Path) -> Iterator[Installation]:
    """A machine that nothing was installed on."""
    machine = bed.machine("bare", "bookworm")
    machine.run("touch /root/before")
    yield Installation(bed, machine, this_release)
    machine.destroy()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of an organisation's CA: one for our name, one for another."""
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    authority.sign("ours", HOSTNAME)
    authority.sign("other", "other.example")
    return authority.folder


def refused(installation: Installation, sentence: str, **variables: Any) -> None:
    """The playbook fails with the sentence, says it once, and leaves the machine as it was."""
    recap = installation.playbook("install", **variables)
    said = " ".join(recap.output.split())
    assert recap.code != 0, said
    assert sentence in said, recap.output
    assert said.count("fatal: ") == 1, recap.output
    assert recap.changed == 0, recap.output
    assert installation.machine.run(TRACES).text == ""
    assert installation.machine.run("id threatcloud", check=False).code != 0


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"threatcloud_server_name": ""}, 'threatcloud_server_name is "": give the name, in lower case,'),
        (
            {"threatcloud_server_nam": "x"},
            "threatcloud_server_nam is no variable of this role: did you mean threatcloud_server_name?",
        ),
        (
            {"threatcloud_https_port": 70000},
            "threatcloud_https_port is 70000: give a TCP port from 1 to 65535.",
        ),
        ({"threatcloud_https_port": "https"}, "threatcloud_https_port"),
        (
            {"threatcloud_admin_networks": []},
            "threatcloud_admin_networks is empty while threatcloud_firewall is true:",
        ),
        (
            {"threatcloud_client_networks": ["lan"]},
            'threatcloud_client_networks has "lan": each one is a network such as 10.20.0.0/16.',
        ),
        (
            {"threatcloud_tls": "files"},
            "threatcloud_tls_certificate is missing while threatcloud_tls is files:",
        ),
        ({"threatcloud_tls": "letsencrypt"}, "threatcloud_tls"),
        ({"threatcloud_tls_days": 4000}, "threatcloud_tls_days is 4000: give from 31 to 825 days,"),
        (
            {"threatcloud_package_index": "pypi"},
            'threatcloud_package_index is "pypi": give the address of a package index,',
        ),
        (
            {"threatcloud_python": "/usr/bin/python2"},
            "has no Python that fits in threatcloud_python: install 3.11, 3.12, 3.13",
        ),
        (
            {"threatcloud_config": {"server": {"host": "0.0.0.0"}}},
            "threatcloud_config.server.host is set: remove it,",
        ),
        (
            {
                "threatcloud_upstreams": [
                    {"name": "u", "kind": "live", "url": "https://u.example", "key": "abc"}
                ]
            },
            "threatcloud_upstreams has the key of u in it: write `key: credential:NAME` there,",
        ),
        (
            {
                "threatcloud_upstreams": [
                    {"name": "u", "kind": "live", "url": "https://u.example", "key": "credential:k"}
                ]
            },
            "threatcloud_upstreams uses credential:k, and there is no such secret:",
        ),
        ({"threatcloud_secrets": {"k": "v"}}, "threatcloud_secrets has k, which no upstream uses:"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_variables(bare: Installation, variables: dict[str, Any], sentence: str) -> None:
    refused(bare, sentence, **variables)


def test_a_certificate_for_another_name(bare: Installation, certificates: Path) -> None:
    files = {"threatcloud_tls_certificate": "other.pem", "threatcloud_tls_key": "other.key"}
    variables = {name: str(certificates / file) for name, file in files.items()}
    refused(bare, f"threatcloud_tls_certificate is not for {HOSTNAME}:", threatcloud_tls="files", **variables)


def test_a_key_of_another_certificate(bare: Installation, certificates: Path) -> None:
    files = {"threatcloud_tls_certificate": "ours.pem", "threatcloud_tls_key": "other.key"}
    variables = {name: str(certificates / file) for name, file in files.items()}
    sentence = "threatcloud_tls_key is not the key of threatcloud_tls_certificate."
    refused(bare, sentence, threatcloud_tls="files", **variables)


def test_an_archive_that_was_changed(bare: Installation, tmp_path: Path) -> None:
    changed = tmp_path / bare.release.name
    shutil.copytree(bare.release, changed)
    with (changed / "deploy" / "systemd" / "threatcloud.service").open("a") as unit:
        unit.write("# a stranger was here\n")
    refused(bare.at(changed), "changed or missing: deploy/systemd/threatcloud.service")


def test_an_archive_by_another_signer(bare: Installation, tmp_path: Path) -> None:
    ours = tmp_path / "release-key.pub"
    ours.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBsHdCb5fMEqoyTQQDwfWv5s3DAHIomEJxqKJkbLMdSY ours\n")
    refused(bare, "which is not a key in", threatcloud_release_key=str(ours))


def test_a_port_that_is_taken(bare: Installation) -> None:
    machine = bare.machine
    machine.run("systemd-run --quiet --unit=stray python3 -m http.server --bind 127.0.0.1 8080")
    machine.run(
        "until curl --silent --output /dev/null http://127.0.0.1:8080/; do sleep 0.1; done", timeout=10
    )
    try:
        refused(
            bare, "Port 8080 of bare is taken by python3: stop that, or set threatcloud_config.server.port"
        )
    finally:
        machine.run("systemctl stop stray")
