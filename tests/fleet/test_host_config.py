"""The files for a host: complete, and the same as the shipped ones."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from app.fleet.guards import Place
from app.fleet.host_config import UNIT, RelayForm, host_files, plan
from tests.fleet.test_guards import MEASURED
from tests.needs import lacking, need_program
from tests.server import REPOSITORY

SHIPPED = REPOSITORY / "deploy" / "guard-relay"
URL = "https://threatcloud.corp.example"
RELAY = "threatcloud-relay.corp.example"
EXAMPLE_KEY = "the key that `threatcloud key issue` printed for this host"
RULE_KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""
"""The example of RFC 8410, 10.1."""

URLS = {
    "http://10.1.2.3:8080": Place.HTTP,
    "http://127.0.0.1:8080": Place.HTTP_LOOPBACK,
    "https://10.1.2.3": Place.HTTPS_PRIVATE_ADDRESS,
    URL: Place.HTTPS_PRIVATE_NAME,
    "https://203.0.113.7": Place.HTTPS_OTHER,
}


@pytest.mark.parametrize("version", MEASURED)
@pytest.mark.parametrize("url", URLS)
def test_the_way_is_direct_exactly_where_the_version_accepts_the_url(version: str, url: str) -> None:
    chosen = plan(version, url, RELAY)
    assert chosen.place is URLS[url]
    direct = MEASURED[version].split()[list(Place).index(URLS[url])] == "yes"
    assert chosen.way == ("direct" if direct else "relay")
    assert chosen.endpoint == (url if direct else f"https://{RELAY}:8443")
    names = {file.name for file in host_files(chosen, RULE_KEY, None)}
    assert (
        ("nginx.conf" in names) is ("hosts" in names) is ("threatcloud-relay.service" in names) is not direct
    )


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "tc.example",
            "ftp://tc.example",
            "https://",
            "https://tc.example/api",
            "https://tc.example?x=1",
        ),
        *("https://me:secret@tc.example", "https://tc.example:99999", "https://tc example", "https://a;b"),
        *("https://[fe80::1%25eth0]", "https://[::1"),
    ],
)
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        plan("1.9.0", url, RELAY)


@pytest.mark.parametrize(
    "name", ["localhost", "127.0.0.1", "relay", "metadata.google.internal", "a.b;", "A.b", "::1"]
)
def test_names_that_a_guard_or_a_file_cannot_take_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"relay|refuse"):
        plan("1.9.0", URL, name)


def test_the_relay_is_not_called_like_the_server() -> None:
    with pytest.raises(ValueError, match="is the server"):
        plan("1.9.0", URL, "threatcloud.corp.example")


def test_the_configuration_of_the_guard() -> None:
    chosen = plan("1.9.0", URL + "/", RELAY)
    (without,) = (file for file in host_files(chosen, RULE_KEY, None) if file.name == "config.json")
    assert json.loads(without.text) == {
        "threatCloudEndpoint": f"https://{RELAY}:8443",
        "threatCloudUploadEnabled": True,
        "threatCloudRuleSyncEnabled": True,
    }
    files = host_files(chosen, RULE_KEY, "the-key")
    assert [file.name for file in files if "the-key" in file.text] == ["config.json"]
    assert [file.name for file in files if file.secret] == ["config.json"]


@pytest.mark.parametrize(
    ("version", "url", "has"),
    [
        ("1.4.5", "http://10.1.2.3", set()),
        ("1.4.5", URL, {"NODE_EXTRA_CA_CERTS"}),
        ("1.8.0", "http://127.0.0.1:8080", {"PANGUARD_RULE_PUBKEY"}),
        ("1.9.0", URL, {"NODE_EXTRA_CA_CERTS", "PANGUARD_RULE_PUBKEY"}),
    ],
)
def test_the_drop_in_has_what_the_version_reads(version: str, url: str, has: set[str]) -> None:
    files = host_files(plan(version, url, RELAY), RULE_KEY, None)
    dropins = [file for file in files if file.name.endswith("threatcloud.conf")]
    assert {
        name for file in dropins for name in re.findall(r"^Environment=\"?(\w+)=", file.text, re.MULTILINE)
    } == has
    assert len(dropins) == bool(has)


def test_older_guards_have_a_system_unit_and_newer_ones_a_unit_of_the_user() -> None:
    def place(version: str) -> str:
        return next(f.place for f in host_files(plan(version, URL, RELAY), RULE_KEY, None) if UNIT in f.name)

    assert place("1.6.1") == f"/etc/systemd/system/{UNIT}.d/threatcloud.conf"
    assert place("1.7.0") == f"/etc/systemd/user/{UNIT}.d/threatcloud.conf"


@pytest.mark.parametrize(
    ("version", "url", "word"),
    [
        ("1.4.5", URL, "never enrols itself"),
        ("1.8.0", "http://127.0.0.1:8080", "does not enrol itself at such a URL"),
        ("1.8.2", URL, "makes no call at all"),
        ("1.7.3", URL, "reports nothing"),
        ("1.8.0", URL, "encrypted to its maker's key"),
        ("1.9.0", URL, "INTEGRITY: TAMPERED"),
        ("1.4.5", "http://10.1.2.3", "readable"),
        ("1.9.0", "https://10.1.2.3", "give the server's name"),
    ],
)
def test_notes_say_what_the_version_and_url_need(version: str, url: str, word: str) -> None:
    assert any(word in note for note in plan(version, url, RELAY).notes)


def test_the_shipped_files_are_what_the_command_prints() -> None:
    files = host_files(plan("1.9.0", URL, RELAY), RULE_KEY, EXAMPLE_KEY)
    assert {file.name: file.text for file in files} == {
        file.name: (SHIPPED / file.name).read_text() for file in files
    }
    stream = host_files(plan("1.9.0", URL, RELAY, "stream"), RULE_KEY, EXAMPLE_KEY)
    (relay,) = [file for file in stream if file.name not in {file.name for file in files}]
    assert (relay.name, relay.place) == ("nginx-stream.conf", "/etc/threatcloud-guard/nginx.conf")
    assert relay.text == (SHIPPED / relay.name).read_text()
    left = {path.name for path in SHIPPED.rglob("*") if path.is_file()} - {
        Path(file.name).name for file in files
    }
    assert left == {"README.md", relay.name}


def test_a_relay_of_bytes_needs_a_server_with_tls() -> None:
    with pytest.raises(ValueError, match="speaks TLS"):
        plan("1.9.0", "http://10.1.2.3", RELAY, "stream")
    assert plan("1.4.5", "http://10.1.2.3", RELAY, "stream").way == "direct", "no relay, no need"


@pytest.mark.parametrize("form", ["http", "stream"])
def test_a_host_without_ipv6_gets_a_relay_that_starts_there(form: RelayForm) -> None:
    with_it, without = (
        next(f.text for f in host_files(plan("1.9.0", URL, RELAY, form, ipv6=ipv6), RULE_KEY, None)
             if f.place.endswith("nginx.conf"))
        for ipv6 in (True, False)
    )  # fmt: skip
    assert set(with_it.splitlines()) - set(without.splitlines()) == {
        line for line in with_it.splitlines() if "listen [::1]:8443" in line
    }
    assert "listen 127.0.0.1:8443" in without


def test_systemd_reads_the_public_key_as_it_is() -> None:
    """The service manager itself parses the drop-in; `--test` loads units, prints them and exits."""
    manager = next(
        (path for path in ("/lib/systemd/systemd", "/usr/lib/systemd/systemd") if Path(path).exists()), None
    )
    if manager is None:
        lacking("systemd")
    pem = RULE_KEY.replace("AyEAGb9", "AyEA+/9")  # what base64 has besides letters and digits
    dumped = units_as_systemd_reads_them(manager, pem)
    assert f"Environment: PANGUARD_RULE_PUBKEY={pem}" in dumped
    assert "Environment: NODE_EXTRA_CA_CERTS=/etc/threatcloud-guard/ca.pem\n" in dumped
    assert "bad-setting" not in dumped


def units_as_systemd_reads_them(manager: str, pem: str) -> str:
    files = {file.name: file.text for file in host_files(plan("1.9.0", URL, RELAY), pem, None)}
    # systemd refuses to test as root, and an ordinary user may not look into pytest's folders.
    who = {"user": 65534, "group": 65534, "extra_groups": ()} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        units = {
            UNIT: "[Service]\nExecStart=/bin/true\n",
            f"{UNIT}.d/threatcloud.conf": files[f"{UNIT}.d/threatcloud.conf"],
        }
        for path, text in units.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).parent.chmod(0o755)  # systemd reads it as root of the test, whatever the mask is
            (folder / path).write_text(text)
            (folder / path).chmod(0o644)
        run = folder / "run"
        run.mkdir()
        for opened in (folder, run, folder / f"{UNIT}.d"):
            opened.chmod(0o777)
        environ = {
            "XDG_RUNTIME_DIR": str(run),
            "HOME": str(run),
            "SYSTEMD_UNIT_PATH": f"{folder}:",
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(
            [manager, "--test", "--user", f"--unit={UNIT}"],
            env=environ, capture_output=True, text=True, timeout=60, check=False, **who,  # type: ignore[call-overload]
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_systemd_accepts_the_unit_of_the_relay(tmp_path: Path) -> None:
    analyze = need_program("systemd-analyze")
    nginx = need_program("nginx")
    unit = tmp_path / "threatcloud-relay.service"
    unit.write_text((SHIPPED / unit.name).read_text().replace("/usr/sbin/nginx", nginx))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])
