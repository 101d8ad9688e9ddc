"""Names, retention, and a disk that is full."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backup.catalog import BackupFile, check_label, list_backup_files, next_name, surplus
from app.backup.create import BackupSource, create_backup
from app.backup.errors import BackupError
from app.backup.policy import BackupPolicy
from tests.backup.conftest import Origin
from tests.clock import NOW
from tests.needs import lacking, need_root

labels = st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,20}", fullmatch=True)
runs = st.lists(st.tuples(labels, st.booleans(), st.integers(-100_000, 100_000)), min_size=1, max_size=30)


def fill(folder: Path, made: list[tuple[str | None, bool, int]]) -> list[str]:
    """Make empty backups one after the other, at clocks that jump; returns their names in that order."""
    names = []
    for label, encrypted, seconds in made:
        name = next_name(
            list_backup_files(folder), label, NOW + timedelta(seconds=seconds), encrypted=encrypted
        )
        (folder / name).touch()
        names.append(name)
    return names


@given(made=runs, keep=st.integers(1, 5))
def test_the_newest_with_and_without_a_label_are_kept(
    made: list[tuple[str | None, bool, int]], keep: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shelf")
    names = fill(folder, made)
    there = list_backup_files(folder)
    assert [Path(item.file).name for item in there] == names[::-1], "newest first, whatever the clock did"
    assert [(item.label, item.encrypted) for item in there] == [(m[0], m[1]) for m in made[::-1]]
    gone = {Path(item.file).name for item in surplus(there, keep)}
    assert names[-1] not in gone
    for has_label in (True, False):
        kind = [
            name for name, (label, _, _) in zip(names, made, strict=True) if (label is not None) == has_label
        ]
        assert [name for name in kind if name not in gone] == kind[-keep:]
    shutil.rmtree(folder)


def test_only_backups_are_listed_and_deleted(tmp_path: Path) -> None:
    others = [
        "notes.txt",
        "threatcloud.tcbackup",
        ".threatcloud-20261101T000000Z.tcbackup.1.partial",
        "a.tcbackup",
    ]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / "threatcloud-20261101T000000Z.tcbackup").mkdir()
    assert list_backup_files(tmp_path) == []
    assert list_backup_files(tmp_path / "missing") == []
    assert surplus([], 1) == []
    one = BackupFile("a", "2026-11-01T00:00:00.000Z", None, False, 1)
    assert surplus([one], 1) == []


@pytest.mark.parametrize("label", ["", " ", "a b", "../x", "-x", "x" * 65, "ä", "a/b", "a\n"])
def test_labels_that_cannot_be_part_of_a_name_are_refused(label: str) -> None:
    with pytest.raises(BackupError, match="a label has"):
        check_label(label)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MiB."""
    need_root()
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m,mode=0700", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        lacking("the right to mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def occupy(disk: Path, leave: int) -> None:
    room = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(0, room.f_bavail * room.f_frsize - leave)))


@pytest.mark.parametrize("left", [0, 8 << 20])
def test_a_full_disk_is_seen_before_anything_is_written(origin: Origin, disk: Path, left: int) -> None:
    server = origin.server(disk.parent / "host")
    shutil.copytree(origin.crashed, server.state_dir)
    server.environ["THREATCLOUD_BACKUP_FOLDER"] = str(disk)
    first = server.cli_json("backup", "create")
    server.environ["THREATCLOUD_BACKUP_KEEP"] = "1"
    occupy(disk, left)
    done = server.cli("backup", "create", check=False)
    assert done.returncode == 1
    assert f"not enough space in {disk}" in done.stderr
    assert sorted(path.name for path in disk.iterdir()) == sorted(["filler", Path(first["file"]).name])
    (disk / "filler").unlink()
    assert server.cli("backup", "verify", first["file"]).returncode == 0
    assert not list(server.state_dir.glob(".*"))


def test_a_disk_that_fills_up_meanwhile(origin: Origin, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check before is only a look: here it is turned off, and the write itself fails."""
    state = disk.parent / "state"
    shutil.copytree(origin.crashed, state)
    occupy(disk, 8192)
    monkeypatch.setattr("app.backup.create.require_space", lambda needs: None)
    for recipients in ((), (origin.recipient,)):
        policy = BackupPolicy(folder=str(disk), recipients=recipients)
        with pytest.raises(BackupError, match="No space left"):
            create_backup(BackupSource(state, None), None, policy, None, NOW)
        assert [path.name for path in disk.iterdir()] == ["filler"]
        assert not list(state.glob(".*"))
        assert "No space left" in json.loads((state / "backup.json").read_text())["failed"]["why"]


def test_a_restore_onto_a_full_disk(origin: Origin, disk: Path) -> None:
    server = origin.server(disk / "host")
    server.state_dir.mkdir()
    occupy(disk, 8 << 20)
    done = server.cli("backup", "restore", str(origin.whole), check=False)
    assert done.returncode == 1
    assert "not enough space" in done.stderr
    assert [path.name for path in server.state_dir.iterdir()] == ["threatcloud.lock"]
