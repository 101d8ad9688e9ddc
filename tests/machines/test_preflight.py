"""Wrong variables and unsuitable machines are refused, with advice for each, before anything is changed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.certificates import Authority
from tests.machines.installation import Installation
from tests.machines.testbed import Testbed
from tests.machines.visitor import HOSTNAME

TRACES = (
    "find /etc /opt /usr /var/lib /var/backups /home /srv -newer /root/before -not -path '/var/lib/systemd/*'"
)
"""Lists what was created or changed after /root/before, except what systemd writes by itself."""


@pytest.fixture(scope="module")
def bare(testbed: Testbed, this_release: Path) -> Iterator[Installation]:
    """Start a machine on which nothing is installed."""
    machine = testbed.machine("bare", "bookworm")
    machine.run("touch /root/before")
    yield Installation(testbed, machine, this_release)
    machine.destroy()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create certificates of an organisation's CA: one for the server's name, one for another."""
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    authority.sign("ours", HOSTNAME)
    authority.sign("other", "other.example")
    return authority.folder


def assert_refused(installation: Installation, *sentences: str, **variables: Any) -> None:
    """Assert that the playbook fails in one task, reports each sentence, and leaves the machine as it was."""
    recap = installation.playbook("install", **variables)
    output = " ".join(recap.output.split())
    assert (recap.failed, recap.changed) == (1, 0), recap.output
    assert [sentence for sentence in sentences if sentence not in output] == [], recap.output
    assert installation.machine.run(TRACES).text == ""
    assert installation.machine.run("id threatcloud", check=False).code != 0


WRONG_VARIABLES: tuple[tuple[dict[str, Any], str], ...] = (
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
"""Wrong variables, each with the beginning of the sentence about it."""


def test_wrong_variables_are_reported_together(bare: Installation) -> None:
    variables = {name: value for wrong, _ in WRONG_VARIABLES for name, value in wrong.items()}
    assert_refused(bare, *(sentence for _, sentence in WRONG_VARIABLES), **variables)


def test_an_unknown_variable_is_refused_with_the_closest_name(bare: Installation) -> None:
    sentence = "threatcloud_server_nam is no variable of this role: did you mean threatcloud_server_name?"
    assert_refused(bare, sentence, threatcloud_server_nam=HOSTNAME)


def test_a_variable_of_the_wrong_type_is_refused(bare: Installation) -> None:
    assert_refused(bare, threatcloud_https_port="https")


def test_an_unsuitable_machine_and_files_are_refused(
    bare: Installation, certificates: Path, tmp_path: Path
) -> None:
    """Changed archive, no Python, certificate for another name, key of another, missing secret, port in use."""
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
        assert_refused(
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


def test_an_archive_of_another_signer_is_refused(bare: Installation, tmp_path: Path) -> None:
    ours = tmp_path / "release-key.pub"
    ours.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBsHdCb5fMEqoyTQQDwfWv5s3DAHIomEJxqKJkbLMdSY ours\n")
    assert_refused(bare, "which is not a key in", threatcloud_release_key=str(ours))
