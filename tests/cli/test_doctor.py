"""`threatcloud doctor`: what it finds, and what it says to do."""

import json
import sqlite3
from pathlib import Path

from tests.server import Server


def findings(server: Server) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code of `doctor`, and what it found by name."""
    done = server.cli("doctor", "--json", check=False)
    listed = json.loads(done.stdout)
    assert all(set(finding) == {"check", "state", "found", "todo"} for finding in listed)
    assert all(finding["todo"] for finding in listed if finding["state"] != "ok")
    return done.returncode, {finding["check"]: finding for finding in listed}


def test_doctor_reports_everything_beside_a_server_and_without(server: Server) -> None:
    code, found = findings(server)
    assert code == 0
    assert found.keys() == {
        "sqlite version",
        "state folder",
        "secret files",
        "disk",
        "backup",
        "file system",
        "lock",
        "pragmas",
        "integrity",
        "schema",
        "clock",
    }
    assert server.process is not None
    assert f"main process {server.process.pid}" in found["lock"]["found"]
    server.stop()
    code, found = findings(server)
    assert code == 0
    assert "free" in found["lock"]["found"]
    server.start()


def test_doctor_says_what_must_be_repaired(stopped: Server) -> None:
    (stopped.state_dir / "admin.key").chmod(0o640)
    stopped.state_dir.chmod(0o755)
    code, found = findings(stopped)
    assert code == 1
    assert found["secret files"]["state"] == "failed"
    assert found["secret files"]["todo"] == f"chmod 0600 {stopped.state_dir / 'admin.key'}"
    assert found["state folder"] == {
        "check": "state folder",
        "state": "warning",
        "found": "mode 0755",
        "todo": f"chmod 0700 {stopped.state_dir}",
    }
    text = stopped.cli("doctor", check=False).stdout
    assert "FAIL secret files: 1 readable by others" in text
    assert "WARN state folder: mode 0755" in text


def test_doctor_without_a_state_folder_says_to_start_once(tmp_path: Path) -> None:
    server = Server(tmp_path)
    code, found = findings(server)
    assert code == 1
    assert found["state folder"]["todo"] == found["database"]["todo"] == "Start the server once."
    assert not server.state_dir.exists()


def test_a_damaged_database_is_one_sentence_everywhere(stopped: Server) -> None:
    database = stopped.state_dir / "threatcloud.db"
    database.write_bytes(b"not a database" * 1000)
    code, found = findings(stopped)
    assert code == 1
    assert found["database"]["state"] == "failed"
    for verb in (("key", "list"), ("serve",)):
        done = stopped.cli(*verb, check=False)
        assert done.returncode == 1
        assert f"Error: {database} cannot be opened: file is not a database" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_database_of_a_newer_release_is_left_alone(stopped: Server) -> None:
    db = sqlite3.connect(stopped.state_dir / "threatcloud.db")
    db.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('threatcloud', 'm9999_x', 'x')"
    )
    db.commit()
    db.close()
    code, found = findings(stopped)
    assert code == 1
    assert found["schema"]["state"] == "failed"
    done = stopped.cli("serve", check=False)
    assert done.returncode == 1
    assert "was written by a newer release (it has m9999_x)" in done.stderr
    assert "Traceback" not in done.stderr
