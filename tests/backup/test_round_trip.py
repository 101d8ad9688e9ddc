"""Backups of a running server, and what comes back from them, through the command line as it is installed."""

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.backup.create import backup_folder
from app.backup.policy import BackupPolicy
from tests.backup.conftest import Origin, poll
from tests.example_rules import proposal
from tests.server import COMMAND, Server

Host = Callable[[], Server]
DRAFT = '{"type":"skill-audit-finding","skillName":"x","needsLLMDraft":true}'


def restore(server: Server, file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return server.cli("backup", "restore", str(file), *options, check=False)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*"))


def is_the_instance(server: Server, origin: Origin) -> bool:
    """Is what this server serves, and whom it knows, just what the origin did?"""
    with server.client(origin.agent) as agent:
        agent_is_known = agent.get("/api/atr-rules").status_code == 200
    return agent_is_known and poll(server, origin.partner) == origin.etag


def test_a_backup_describes_its_contents(origin: Origin) -> None:
    for name, has_keys, is_encrypted in (
        ("plain", False, False),
        ("whole", True, False),
        ("encrypted", True, True),
    ):
        made = origin.made[name]
        assert (made["keys"], made["encrypted"]) == (has_keys, is_encrypted)
        assert made["etag"] == origin.etag
        path = Path(made["file"])
        assert made["bytes"] == path.stat().st_size
        assert path.stat().st_mode & 0o777 == 0o600
    assert origin.plain.name.endswith("Z.tcbackup")
    assert origin.whole.name.endswith("Z-with-keys.tcbackup")
    assert origin.encrypted.name.endswith("Z.tcbackup.age")
    with tarfile.open(origin.whole) as tar:
        names = tar.getnames()
    assert names[:3] == ["manifest.jwt", "threatcloud.db", "config.toml"]
    assert {"keys/privacy.key", "admin.key"} < set(names)
    assert sum(name.endswith(".pem") for name in names) == 3
    with tarfile.open(origin.plain) as tar:
        assert tar.getnames() == names[:3]
    assert leftovers(origin.state) == []


def test_the_status_describes_the_last_backup(origin: Origin) -> None:
    status = json.loads((origin.state / "backup.json").read_text())
    made = origin.made["encrypted"]
    assert status["failed"] is None
    assert {name: status["verified"][name] for name in ("file", "bytes", "at")} == {
        name: made[name] for name in ("file", "bytes", "at")
    }


@pytest.mark.parametrize("kind", ["whole", "encrypted"])
def test_a_new_host_goes_on_where_the_old_one_was(origin: Origin, host: Host, kind: str) -> None:
    server = host()
    options = ("--identity", str(origin.identity)) if kind == "encrypted" else ()
    done = restore(
        server, Path(origin.made[kind]["file"]), *options, "--key", str(origin.manifest_key), "--json"
    )
    assert done.returncode == 0, done.stderr
    described = json.loads(done.stdout)
    assert (described["keys"], described["etag"], described["replaced"]) == ("restored", origin.etag, None)
    assert Path(described["config"]).read_text() == origin.config
    with server.start():
        assert is_the_instance(server, origin)
        assert server.admin_token == (origin.state / "admin.key").read_text().strip()
        with server.admin as admin:
            assert admin.get("/api/admin/audit/verify").json()["data"]["broken_at"] is None
            newest = admin.get("/api/audit-log", params={"action": "instance.restored"}).json()["data"]
        assert [entry["target"] for entry in newest] == [Path(origin.made[kind]["file"]).name]
        assert newest[0]["detail"]["keys"] == "restored"
    assert leftovers(server.state_dir) == []
    assert all(path.stat().st_mode & 0o077 == 0 for path in server.state_dir.rglob("*"))


def test_without_keys_a_new_host_says_that_every_key_is_void(origin: Origin, host: Host) -> None:
    server = host()
    done = restore(server, origin.plain)
    assert done.returncode == 0, done.stderr
    assert "keys: new" in done.stdout
    assert "Every key that was issued is void" in done.stderr
    assert "Nothing here says whose backup this is" in done.stderr
    with server.start():
        assert poll(server, origin.partner) is None
        with server.admin as admin:
            assert admin.get("/api/admin/audit/verify").json()["data"]["broken_at"] is None
            served = admin.get("/api/publications/current").json()["data"]
        assert served["total"] == 8


def test_without_keys_its_own_host_keeps_those_that_it_has(origin: Origin, host: Host) -> None:
    server = host()
    shutil.copytree(origin.state, server.state_dir, ignore=shutil.ignore_patterns("backups"))
    with server.start():
        server.issue("agent", "after-the-backup")
    done = restore(server, origin.plain)
    assert done.returncode == 0, done.stderr
    assert "keys: kept" in done.stdout
    assert "void" not in done.stderr
    with server.start():
        assert is_the_instance(server, origin)
        assert "after-the-backup" not in json.dumps(server.cli_json("key", "list"))


def test_what_was_there_is_moved_aside_with_its_log(origin: Origin, host: Host) -> None:
    """The folder is as kill -9 left it: what is in the log must be in the old database, and never in the new one."""
    server = host()
    shutil.copytree(origin.crashed, server.state_dir)
    wal = server.state_dir / "threatcloud.db-wal"
    assert wal.stat().st_size > 0
    before = {path.name: digest(path) for path in (wal, server.state_dir / "threatcloud.db")}
    done = restore(server, origin.whole, "--json")
    assert done.returncode == 0, done.stderr
    replaced = Path(json.loads(done.stdout)["replaced"])
    assert replaced.parent == server.state_dir
    assert {name: digest(replaced / name) for name in before} == before
    assert not wal.exists()
    assert sorted(path.name for path in (replaced / "keys").iterdir()) == sorted(
        path.name for path in (origin.state / "keys").iterdir()
    )
    with server.start():
        assert is_the_instance(server, origin)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_restore_waits_for_nobody_and_touches_nothing_under_a_server(origin: Origin, host: Host) -> None:
    server = host().start()
    before = server.cli_json("key", "list")
    done = restore(server, origin.whole, "--replace")
    assert done.returncode == 1
    assert "is in use by pid" in done.stderr and "stop that first" in done.stderr
    assert server.cli_json("key", "list") == before
    assert server.stop() == 0
    assert not list(server.state_dir.glob("replaced-*"))


def test_another_instance_is_replaced_only_with_replace(origin: Origin, host: Host, tmp_path: Path) -> None:
    server = host()
    with server.start():
        own = server.cli_json("signing-key", "list")
        other_key = tmp_path / "other.pem"
        with server.client() as anybody:
            other_key.write_bytes(anybody.get("/.well-known/manifest-key.pem").content)
    refused = restore(server, origin.plain)
    assert refused.returncode == 1
    assert "it is of another instance" in refused.stderr and "--replace" in refused.stderr
    for options in (("--key", str(other_key)), ("--key", str(other_key), "--replace")):
        forged = restore(server, origin.plain, *options)
        assert forged.returncode == 1
        assert "not signed by the given key" in forged.stderr
    assert not list(server.state_dir.glob("replaced-*"))
    done = restore(server, origin.plain, "--replace", "--key", str(origin.manifest_key))
    assert done.returncode == 0, done.stderr
    assert "keys: new" in done.stdout, "the keys of one instance must never sign for another"
    with server.start():
        after = server.cli_json("signing-key", "list")
        with server.admin as admin:
            assert admin.get("/api/admin/keys").status_code == 200
    assert {key["kid"] for key in own}.isdisjoint(key["kid"] for key in after)


def test_an_encrypted_backup_needs_its_identity(origin: Origin, host: Host, tmp_path: Path) -> None:
    server = host()
    other = server.cli_json("backup", "keygen", "--output", str(tmp_path / "other.txt"))
    assert (tmp_path / "other.txt").stat().st_mode & 0o777 == 0o600
    assert other["recipient"] in (tmp_path / "other.txt").read_text()
    for options, why in (
        ((), "--identity"),
        (("--identity", str(tmp_path / "other.txt")), "other identities"),
        (("--identity", str(origin.manifest_key)), "something else than age identities"),
    ):
        done = restore(server, origin.encrypted, *options)
        assert done.returncode == 1
        assert why in done.stderr
    again = server.cli("backup", "keygen", "--output", str(tmp_path / "other.txt"), check=False)
    assert again.returncode == 1, "an identity must never be overwritten"
    assert leftovers(server.state_dir) == []
    piped = subprocess.run(
        [COMMAND, "backup", "verify", origin.encrypted, "--identity", "-", "--json"],
        input=origin.identity.read_text(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(piped.stdout)["etag"] == origin.etag


def test_verify_needs_no_instance(origin: Origin, host: Host, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.tcbackup"
    shutil.copy(origin.whole, copy)
    server = host()
    shutil.rmtree(server.folder)
    server.folder.mkdir()
    done = server.cli("backup", "verify", str(copy), "--key", str(origin.manifest_key), "--json")
    data = json.loads(done.stdout)
    assert data["trusted"] is True
    assert (data["etag"], data["keys"], data["label"]) == (origin.etag, True, "with-keys")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere.tcbackup", server.folder.name]
    assert not server.state_dir.exists()


def test_the_newest_are_kept_and_those_with_a_label_apart(origin: Origin, host: Host, tmp_path: Path) -> None:
    server = host()
    shutil.copytree(origin.crashed, server.state_dir)
    server.environ["THREATCLOUD_BACKUP_KEEP"] = "1"
    elsewhere = server.cli_json("backup", "create", "--output", str(tmp_path / "usb"))
    made = [server.cli_json("backup", "create") for _ in range(2)]
    labelled = [server.cli_json("backup", "create", "--label", "before-1.0") for _ in range(2)]
    listed = [item["file"] for item in server.cli_json("backup", "list")]
    assert listed == [m["file"] for m in (*labelled[:0:-1], *made[:0:-1])]
    assert made[1]["removed"] == [made[0]["file"]]
    assert Path(elsewhere["file"]).exists()
    assert elsewhere["removed"] == []
    bad = server.cli("backup", "create", "--label", "../../etc", check=False)
    assert bad.returncode == 1 and "a label has" in bad.stderr


def test_under_load_it_is_one_moment_and_loses_nothing_from_before(origin: Origin, host: Host) -> None:
    """What was acknowledged before the backup began is in it, whole; the server goes on meanwhile."""
    server, acknowledged, stop = host().start(), list[str](), threading.Event()
    token = server.issue("agent")

    def write(prefix: str) -> None:
        with server.client(token) as agent:
            number = 0
            while not stop.is_set():
                number += 1
                name = f"{prefix}-{number}"
                if agent.post("/api/atr-proposals", json=proposal(name, DRAFT)).status_code == 201:
                    acknowledged.append(name)
                else:
                    time.sleep(0.01)

    threads = [threading.Thread(target=write, args=(f"load-{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        while len(acknowledged) < 50:
            time.sleep(0.01)
        before = set(acknowledged)
        made = server.cli_json("backup", "create")
        assert len(acknowledged) > len(before), "writes must go on while a backup is made"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    server.stop()
    other = host()
    assert restore(other, Path(made["file"])).returncode == 0
    with other.start():
        listed = other.cli_json("proposal", "list", "--limit", "5000")
    assert before <= {item["patternHash"] for item in listed}


def test_a_killed_backup_leaves_nothing_that_looks_like_one(origin: Origin, host: Host) -> None:
    """Killed at many moments; the next one succeeds and clears away what the dead left."""
    server = host()
    shutil.copytree(origin.crashed, server.state_dir)
    folder = backup_folder(server.state_dir, BackupPolicy())
    for step in range(6):
        process = subprocess.Popen(
            [COMMAND, "backup", "create"],
            env=server.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and process.poll() is None and not _is_working(server.state_dir):
            time.sleep(0.002)
        time.sleep(step * 0.025)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in folder.glob("threatcloud-*"):
            assert server.cli("backup", "verify", str(path)).returncode == 0
    server.cli("backup", "create")
    assert leftovers(server.state_dir) == []


def _is_working(state: Path) -> bool:
    return bool(list(state.glob(".scratch-*")))


def test_a_failure_says_why_and_leaves_nothing(origin: Origin, host: Host) -> None:
    server = host()
    assert "start the server once" in server.cli("backup", "create", check=False).stderr
    shutil.copytree(origin.crashed, server.state_dir, dirs_exist_ok=True)
    damage(server.state_dir)
    done = server.cli("backup", "create", check=False)
    assert done.returncode == 1
    assert "no backup was made" in done.stderr
    assert server.cli_json("backup", "list") == []
    assert leftovers(server.state_dir) == []
    failed = json.loads((server.state_dir / "backup.json").read_text())["failed"]
    assert failed["why"] in done.stderr
    doctor = {f["check"]: f for f in json.loads(server.cli("doctor", "--json", check=False).stdout)}
    assert doctor["backup: last attempt"]["state"] == "warning"
    assert failed["why"] in doctor["backup: last attempt"]["found"]


def test_what_could_not_be_restored_is_no_backup(origin: Origin, host: Host) -> None:
    """The database can be copied, and yet nobody could serve it: that shows when the file is read back."""
    server = host()
    shutil.copytree(origin.crashed, server.state_dir)
    connection = sqlite3.connect(server.state_dir / "threatcloud.db")
    connection.execute("UPDATE publication SET published_at = '2031-01-01T00:00:00.000Z'")
    connection.commit()
    connection.close()
    done = server.cli("backup", "create", check=False)
    assert done.returncode == 1
    assert (
        "the backup was written, but is not good: publication 1 is not the set that was signed" in done.stderr
    )
    assert server.cli_json("backup", "list") == []
    assert leftovers(server.state_dir) == []


def damage(state: Path) -> None:
    """Overwrite a page in the middle of the database, log folded in."""
    connection = sqlite3.connect(state / "threatcloud.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'rule_text'").fetchone()
    connection.close()
    with (state / "threatcloud.db").open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(os.urandom(4096))


def test_monitoring_sees_the_last_one(origin: Origin, host: Host) -> None:
    server = host().start()

    def samples() -> dict[str, float]:
        lines = httpx.get(f"{server.url}/metrics").text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("threatcloud_backup_"))
        return {name: float(value) for name, value in pairs}

    assert samples() == {}
    made = server.cli_json("backup", "create")
    found = samples()
    assert found.keys() == {
        "threatcloud_backup_last_verified_timestamp_seconds",
        "threatcloud_backup_last_bytes",
    }
    assert found["threatcloud_backup_last_bytes"] == made["bytes"]
    assert abs(found["threatcloud_backup_last_verified_timestamp_seconds"] - time.time()) < 60
    server.cli("backup", "create", "--label", "no label", check=False)
    assert "threatcloud_backup_last_failure_timestamp_seconds" in samples()


def test_doctor_knows_when_the_last_one_is_old_or_lacks_the_keys(origin: Origin, host: Host) -> None:
    server = host()

    def doctor() -> dict[str, Any]:
        listed = json.loads(server.cli("doctor", "--json", check=False).stdout)
        return {f["check"]: f for f in listed if f["check"].startswith("backup")}

    server.cli("key", "list")
    assert doctor()["backup"]["found"] == "none was made yet"
    server.cli("backup", "create")
    assert (doctor()["backup"]["state"], doctor()["backup: keys"]["state"]) == ("ok", "warning")
    server.environ["THREATCLOUD_BACKUP_KEYS"] = "always"
    server.cli("backup", "create")
    assert doctor().keys() == {"backup"}
    status = server.state_dir / "backup.json"
    described = json.loads(status.read_text())
    described["verified"]["at"] = "2026-01-02T00:00:00.000Z"
    status.write_text(json.dumps(described))
    assert doctor()["backup"]["state"] == "warning"
    assert "threatcloud backup create" in doctor()["backup"]["todo"]


def test_a_wrong_recipient_is_a_mistake_in_the_configuration(host: Host, origin: Origin) -> None:
    server = host()
    for wrong in ("age1nonsense", f"{origin.recipient[:-1]}q", "AGE-SECRET-KEY-1ABC"):
        server.environ["THREATCLOUD_BACKUP_RECIPIENTS"] = wrong
        done = server.cli("config", "check", check=False)
        assert done.returncode == 2
        assert "backup: recipients: not the public key" in done.stderr
        assert "SECRET-KEY-1ABC" not in done.stderr
