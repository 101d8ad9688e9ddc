"""`threatcloud fleet config` against a real instance: what it prints, writes, issues and keeps to itself."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.fleet import instance
from tests.server import Server

UNIT = "com.panguard.panguard-guard.service"
NEWEST = ("--guard-version", "1.9.0", "--url", "https://threatcloud.corp.example")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with instance(tmp_path_factory.mktemp("instance")) as running:
        yield running


def texts(told: dict[str, Any]) -> dict[str, str]:
    return {file["name"]: file["text"] for file in told["files"]}


def keys(server: Server) -> int:
    return len(server.cli_json("key", "list"))


def test_a_newest_guard_gets_a_relay_and_this_instances_rule_key(server: Server) -> None:
    before = keys(server)
    told = server.cli_json("fleet", "config", *NEWEST)
    assert (told["way"], told["endpoint"]) == ("relay", "https://threatcloud-relay.internal:8443")
    assert told["accepts"]["httpsPrivateName"] is False
    files = texts(told)
    assert set(files) == {
        *("config.json", f"{UNIT}.d/threatcloud.conf", "hosts", "nginx.conf", "threatcloud-relay.service")
    }
    with server.client() as anybody:
        pem = anybody.get("/.well-known/rule-key.pem").text
    assert pem.replace("\n", "\\n") in files[f"{UNIT}.d/threatcloud.conf"]
    assert "server threatcloud.corp.example:443;" in files["nginx.conf"]
    assert "threatCloudApiKey" not in files["config.json"]
    assert keys(server) == before, "a key was issued that nobody asked for"


def test_an_old_guard_on_this_machine_needs_no_url_and_no_relay(server: Server) -> None:
    text = server.cli("fleet", "config", "--guard-version", "1.4.5").stdout
    assert f"reaches {server.url} directly" in text
    assert f'"threatCloudEndpoint": "{server.url}"' in text
    assert "nginx" not in text


def test_a_key_is_printed_only_when_it_is_given(server: Server, tmp_path: Path) -> None:
    key = server.issue("agent")
    (tmp_path / "host.key").write_text(key + "\n")
    told = server.cli_json("fleet", "config", *NEWEST, "--key-file", str(tmp_path / "host.key"))
    assert json.loads(texts(told)["config.json"])["threatCloudApiKey"] == key
    assert [name for name, text in texts(told).items() if key in text] == ["config.json"]


def test_an_issued_key_works_and_is_in_the_audit_log(server: Server) -> None:
    told = server.cli_json("fleet", "config", *NEWEST, "--issue", "laptop-12")
    key = json.loads(texts(told)["config.json"])["threatCloudApiKey"]
    with server.client(key) as guard:
        assert guard.get("/api/skill-blacklist").status_code == 200
    (record,) = server.cli_json("key", "list", "--subject", "laptop-12")
    assert record["role"] == "agent"
    entries = server.cli_json("audit", "list")
    assert any("laptop-12" in json.dumps(entry) for entry in entries if entry["action"] == "key.issue")


def test_files_are_written_and_the_one_with_the_key_is_for_its_owner(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "host"
    (folder / "old").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "config.json").chmod(0o644)
    done = server.cli(
        "fleet", "config", *NEWEST, "--issue", "laptop-13", "--format", "files", "--output", str(folder)
    )
    key = json.loads((folder / "config.json").read_text())["threatCloudApiKey"]
    assert key not in done.stdout + done.stderr
    assert stat.S_IMODE((folder / "config.json").stat().st_mode) == 0o600
    told = server.cli_json("fleet", "config", *NEWEST)
    for name, text in texts(told).items():
        if name != "config.json":
            assert (folder / name).read_text() == text
    assert all(str(folder / name) in done.stdout for name in texts(told))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--url", "https://me:pw@tc.example"), "no URL"),
        (("--url", "https://tc.example/api"), "scheme, host and port only"),
        (("--relay-name", "localhost"), "a name with a dot"),
        (("--format", "files"), "go together"),
        (("--output", "x"), "go together"),
        (("--issue", "a", "--key-file", "-"), "exclude each other"),
        (("--issue", "a", "--enrol", "a"), "--enrol excludes --issue"),
        (("--dry-run",), "--dry-run goes with --enrol"),
        (("--site", "hq"), "--site with --enrol or --issue"),
        (("--relay-form", "bytes"), "not one of 'http', 'stream'"),
    ],
)
def test_mistakes_are_told_before_anything_is_issued(
    server: Server, arguments: tuple[str, ...], says: str
) -> None:
    before = keys(server)
    done = server.cli("fleet", "config", *NEWEST, *arguments, check=False)
    assert (done.returncode, keys(server)) == (2, before)
    assert says in " ".join(done.stderr.split())


def enrol(server: Server, folder: Path, held: str | None, *more: str) -> tuple[dict[str, Any], str | None]:
    """Enrol `laptop-20` with the key that it holds; returns what was said of the key, and the key it has now."""
    (folder / "held.key").write_text(held or "")
    told = server.cli_json(
        "fleet", "config", *NEWEST, "--enrol", "laptop-20", "--key-file", str(folder / "held.key"), *more
    )
    return told["key"], json.loads(texts(told)["config.json"]).get("threatCloudApiKey")


def live(server: Server) -> list[str]:
    return [
        key["id"]
        for key in server.cli_json("key", "list", "--subject", "laptop-20")
        if key["revokedAt"] is None
    ]


def test_a_host_that_is_enrolled_again_keeps_its_key_and_has_one_only(server: Server, tmp_path: Path) -> None:
    said, none = enrol(server, tmp_path, None, "--dry-run")
    assert (said, none, live(server)) == ({"state": "wanting", "revoked": []}, None, [])
    said, key = enrol(server, tmp_path, "\x00 no key", "--site", "berlin")
    assert said == {"state": "issued", "revoked": []}
    (first,) = live(server)
    assert server.cli_json("key", "list", "--subject", "laptop-20")[0]["site"] == "berlin"
    for more in ((), ("--dry-run",)):
        assert enrol(server, tmp_path, key, *more) == ({"state": "kept", "revoked": []}, key)
    assert live(server) == [first]

    others = server.issue("agent", "laptop-21")
    said, none = enrol(server, tmp_path, others, "--dry-run")
    assert (said, none) == ({"state": "wanting", "revoked": [first]}, None)
    assert live(server) == [first], "a dry run changes nothing"
    said, second = enrol(server, tmp_path, others)
    assert said == {"state": "issued", "revoked": [first]}
    assert second not in {key, others}
    assert len(live(server)) == 1

    server.cli("key", "revoke", *live(server))
    said, third = enrol(server, tmp_path, second)
    assert said == {"state": "issued", "revoked": []}
    with server.client(third) as guard:
        assert guard.get("/api/skill-blacklist").status_code == 200


def test_an_admin_key_is_no_key_for_a_host(server: Server, tmp_path: Path) -> None:
    admin = server.issue("admin", "laptop-20")
    said, key = enrol(server, tmp_path, admin)
    assert said["state"] == "issued"
    assert key != admin
    with server.client(admin) as still:
        assert still.get("/api/admin/keys").status_code == 200


def test_an_empty_key_file_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    done = server.cli("fleet", "config", *NEWEST, "--key-file", str(tmp_path / "empty"), check=False)
    assert done.returncode == 2
    assert "holds no key" in done.stderr


def test_it_works_without_a_running_server_and_listening_everywhere_needs_a_url(tmp_path: Path) -> None:
    resting = Server(tmp_path / "resting", server_host="0.0.0.0")
    told = resting.cli_json("fleet", "config", *NEWEST)
    assert "BEGIN PUBLIC KEY" in texts(told)[f"{UNIT}.d/threatcloud.conf"]
    done = resting.cli("fleet", "config", "--guard-version", "1.9.0", check=False)
    assert done.returncode == 2
    assert "--url" in done.stderr
