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


def refused(installation: Installation, *sentences: str, **variables: Any) -> None:
    """The playbook fails in one task, says each sentence, and leaves the machine as it was."""
    recap = installation.playbook("install", **variables)
    said = " ".join(recap.output.split())
    assert (recap.failed, recap.changed) == (1, 0), recap.output
    assert [sentence for sentence in sentences if sentence not in said] == [], recap.output
    assert installation.machine.run(TRACES).text == ""
    assert installation.machine.run("id threatcloud", check=False).code != 0


MISTAKES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"threatcloud_server_name": ""}, 'threatcloud_server_name is "": give the name, in lower case,'),
    ({"threatcloud_https_port": 70000}, "threatcloud_https_port is 70000: give a TCP port from 1 to 65535."),
    (
        {"threatcloud_admin_networks": []},
        "threatcloud_admin_networks is empty while threatcloud_firewall is true:",
    ),
    (
        {"threatcloud_client_networks": ["lan"]},
        'threatcloud_client_networks has "lan": each one is a network such as 10.20.0.0/16.',
    ),
    ({"threatcloud_tls": "files"}, "threatcloud_tls_certificate is missing while threatcloud_tls is files:"),
    ({"threatcloud_tls_days": 4000}, "threatcloud_tls_days is 4000: give from 31 to 825 days,"),
    (
        {"threatcloud_package_index": "pypi"},
        'threatcloud_package_index is "pypi": give the address of a package index,',
    ),
    (
        {"threatcloud_config": {"server": {"host": "0.0.0.0"}}},
        "threatcloud_config.server.host is set: remove it,",
    ),
    (
        {"threatcloud_upstreams": [{"name": "u", "kind": "live", "url": "https://u.example", "key": "abc"}]},
        "threatcloud_upstreams has the key of u in it: write `key: credential:NAME` there,",
    ),
    ({"threatcloud_secrets": {"k": "v"}}, "threatcloud_secrets has k, which no upstream uses:"),
)
"""Variables that are wrong, and how the sentence about each begins."""


def test_wrong_variables_are_told_together(bare: Installation) -> None:
    variables = {name: value for wrong, _ in MISTAKES for name, value in wrong.items()}
    refused(bare, *(sentence for _, sentence in MISTAKES), **variables)


def test_a_variable_that_nobody_knows(bare: Installation) -> None:
    sentence = "threatcloud_server_nam is no variable of this role: did you mean threatcloud_server_name?"
    refused(bare, sentence, threatcloud_server_nam=HOSTNAME)


def test_a_variable_of_the_wrong_kind(bare: Installation) -> None:
    refused(bare, threatcloud_https_port="https")


def test_a_machine_and_files_that_do_not_fit(bare: Installation, certificates: Path, tmp_path: Path) -> None:
    """A changed archive, no Python, another name's certificate with a foreign key, no secret, a port taken."""
    changed = tmp_path / bare.release.name
    shutil.copytree(bare.release, changed)
    with (changed / "deploy" / "systemd" / "threatcloud.service").open("a") as unit:
        unit.write("# a stranger was here\n")
    machine = bare.machine
    machine.run("systemd-run --quiet --unit=stray python3 -m http.server --bind 127.0.0.1 8080")
    machine.run(
        "until curl --silent --output /dev/null http://127.0.0.1:8080/; do sleep 0.1; done", timeout=30
    )
    try:
        refused(
            bare.at(changed),
            "changed or missing: deploy/systemd/threatcloud.service",
            "bare has no Python that fits in threatcloud_python: install 3.11, 3.12, 3.13",
            f"threatcloud_tls_certificate is not for {HOSTNAME}:",
            "threatcloud_tls_key is not the key of threatcloud_tls_certificate.",
            "threatcloud_upstreams uses credential:k, and there is no such secret:",
            "Port 8080 of bare is taken by python3: stop that, or set threatcloud_config.server.port",
            threatcloud_python="/usr/bin/python2",
            threatcloud_tls="files",
            threatcloud_tls_certificate=str(certificates / "other.pem"),
            threatcloud_tls_key=str(certificates / "ours.key"),
            threatcloud_upstreams=[
                {"name": "u", "kind": "live", "url": "https://u.example", "key": "credential:k"}
            ],
        )
    finally:
        machine.run("systemctl stop stray")


def test_an_archive_by_another_signer(bare: Installation, tmp_path: Path) -> None:
    ours = tmp_path / "release-key.pub"
    ours.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBsHdCb5fMEqoyTQQDwfWv5s3DAHIomEJxqKJkbLMdSY ours\n")
    refused(bare, "which is not a key in", threatcloud_release_key=str(ours))
