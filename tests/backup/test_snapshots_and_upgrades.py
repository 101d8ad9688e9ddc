"""Snapshots, the rehearsal of an upgrade, and the question whether one may upgrade."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from app import __version__
from app.storage.migrate import copy_database
from tests.backup.conftest import Origin, poll
from tests.backup.test_round_trip import damage
from tests.server import Server

Host = Callable[[], Server]


@pytest.fixture
def server(origin: Origin, host: Host) -> Server:
    """A host with the instance on it, not running; its log is not folded in."""
    made = host()
    shutil.copytree(origin.crashed, made.state_dir)
    return made


def digests(state: Path) -> dict[str, str]:
    """Of every file; SQLite's own shared memory and an empty log say nothing."""
    return {
        str(path.relative_to(state)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(state.rglob("*"))
        if path.is_file()
        and not path.name.endswith("-shm")
        and (path.stat().st_size or path.suffix != ".db-wal")
    }


def snapshot(server: Server, name: str) -> Path:
    folder = server.state_dir / "snapshots"
    folder.mkdir(exist_ok=True)
    target = folder / f"{name}.db"
    copy_database(server.state_dir / "threatcloud.db", target)
    return target


def execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(statement)
    connection.commit()
    connection.close()


def test_a_snapshot_brings_the_database_back_and_keeps_the_later_one(origin: Origin, server: Server) -> None:
    taken = snapshot(server, f"before-{__version__}")
    before = digests(server.state_dir)[f"snapshots/{taken.name}"]
    with server.start():
        server.issue("agent", "after-the-snapshot")
    (listed,) = server.cli_json("snapshot", "list")
    assert (listed["name"], listed["problem"], listed["serial"]) == (taken.stem, None, 1)
    done = server.cli_json("snapshot", "restore", taken.stem)
    replaced = Path(done["replaced"])
    kept = sqlite3.connect(replaced / "threatcloud.db")
    assert kept.execute("SELECT count(*) FROM key WHERE subject = 'after-the-snapshot'").fetchone() == (1,)
    kept.close()
    assert digests(server.state_dir)[f"snapshots/{taken.name}"] == before, "the snapshot itself stays"
    with server.start():
        assert poll(server, origin.partner) == origin.etag
        assert "after-the-snapshot" not in json.dumps(server.cli_json("key", "list"))
        assert server.cli_json("audit", "verify")["brokenAt"] is None
        newest = server.cli_json("audit", "list", "--action", "instance.restored")
    assert [entry["target"] for entry in newest] == [f"snapshot {taken.stem}"]


def test_snapshots_that_cannot_be_restored_are_listed_with_the_reason(origin: Origin, server: Server) -> None:
    newer, broken, other = (snapshot(server, name) for name in ("newer", "broken", "other"))
    execute(
        newer, "INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('threatcloud', 'm9999_later')"
    )
    broken.write_bytes(broken.read_bytes()[:8192] + bytes(100_000))
    execute(other, "UPDATE instance SET value = 'somebody-else' WHERE name = 'id'")
    before = digests(server.state_dir)
    listed = {item["name"]: item for item in server.cli_json("snapshot", "list")}
    assert "m9999_later" in listed["newer"]["problem"]
    assert listed["broken"]["problem"]
    for name, why in (
        ("newer", "newer release (it has 'm9999_later')"),
        ("broken", "damaged"),
        ("other", "of another instance"),
        ("missing", "there is no snapshot 'missing'"),
        ("../threatcloud", "there is no snapshot"),
    ):
        done = server.cli("snapshot", "restore", name, check=False)
        assert done.returncode == 1
        assert why in done.stderr
    assert digests(server.state_dir).items() - before.items() == {
        ("threatcloud.lock", hashlib.sha256(b"").hexdigest())
    }
    with server.start():
        refused = server.cli("snapshot", "restore", "broken", check=False)
        assert "stop that first" in refused.stderr


def test_a_rehearsal_changes_nothing(server: Server) -> None:
    before = digests(server.state_dir)
    done = server.cli_json("upgrade", "rehearse")
    assert (done["allowed"], done["migrations"], done["serial"], done["rebuilds"]) == (True, [], 1, False)
    assert digests(server.state_dir) == before
    with server.start():
        assert server.cli_json("upgrade", "rehearse")["allowed"] is True


def test_a_rehearsal_of_a_real_migration(server: Server) -> None:
    """The database of a release that lacked the last migration."""
    execute(server.state_dir / "threatcloud.db", OLDER)
    before = digests(server.state_dir)
    done = server.cli_json("upgrade", "rehearse")
    assert (done["allowed"], done["migrations"]) == (True, ["m0007_fleet"])
    assert digests(server.state_dir) == before


OLDER = """
    DROP TABLE sighting; DROP TABLE agent_report; DROP TABLE counter; DROP TABLE scanner; DROP TABLE activation;
    DROP TABLE skill_version;
    DELETE FROM _sqlite_migrations WHERE name = 'm0007_fleet';
"""


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DROP TABLE sighting; DELETE FROM _sqlite_migrations WHERE name = 'm0007_fleet'", "already exists"),
        (
            "INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('threatcloud', 'm9')",
            "newer release",
        ),
        ("DELETE FROM publication_rule WHERE rule_id = 'ATR-2026-95001'", "not the set that was signed"),
        ("UPDATE publication_sheet SET entries = x'00'", "cannot be loaded"),
        ("DROP TRIGGER audit_is_append_only_update; UPDATE audit SET actor = 'x' WHERE id = 2", "entry 2"),
    ],
)
def test_a_rehearsal_says_why_not(server: Server, statement: str, why: str) -> None:
    execute(server.state_dir / "threatcloud.db", statement)
    before = digests(server.state_dir)
    done = server.cli("upgrade", "rehearse", "--json", check=False)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["allowed"] is False
    assert why in " ".join(answer["reasons"])
    assert digests(server.state_dir) == before


def test_a_rehearsal_finds_a_damaged_database_and_a_wrong_configuration(server: Server, host: Host) -> None:
    damage(server.state_dir)
    before = digests(server.state_dir)
    done = server.cli("upgrade", "rehearse", check=False)
    assert done.returncode == 1
    assert "damaged" in done.stdout
    assert digests(server.state_dir) == before
    server.config.write_text("[server]\nprot = 1\n[backup]\nkeep = 0\n")
    done = server.cli("upgrade", "rehearse", check=False)
    assert done.returncode == 1
    assert done.stdout.count("configuration: ") == 2
    empty = host()
    assert "nothing to rehearse with" in empty.cli("upgrade", "rehearse", check=False).stdout
    assert not empty.state_dir.exists()


def test_a_backup_of_an_older_database_is_brought_up_when_it_is_restored(server: Server, host: Host) -> None:
    execute(server.state_dir / "threatcloud.db", OLDER)
    server.environ["THREATCLOUD_BACKUP_KEYS"] = "always"
    made = server.cli_json("backup", "create")
    other = host()
    other.cli("backup", "restore", made["file"])
    assert other.cli_json("upgrade", "rehearse")["migrations"] == []


def test_upgrade_check_answers_by_its_exit_code(server: Server) -> None:
    assert server.cli("upgrade", "check", "--from", __version__).returncode == 0
    for version in ("999.0", "0.0.1"):
        done = server.cli("upgrade", "check", "--from", version, "--json", check=False)
        assert done.returncode == 1
        answer = json.loads(done.stdout)
        assert (answer["from"], answer["to"], answer["allowed"]) == (version, __version__, False)
        assert len(answer["reasons"]) == 1
    assert "is not a version" in server.cli("upgrade", "check", "--from", "latest", check=False).stderr
