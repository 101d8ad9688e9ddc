"""Private files: whole or not there, for their owner alone, and on disk with their names."""

import os
import stat
from pathlib import Path

import pytest

from app.storage.files import discard_partials, private_file, write_private


def test_a_private_file_is_for_its_owner_alone_whatever_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [path]


def test_file_and_folder_are_synced_around_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "secret", list[tuple[str, bool]]()
    real = os.fsync

    def fsync(fd: int) -> None:
        real(fd)
        synced.append(("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file", path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_private(path, b"x")
    assert synced == [("file", False), ("folder", True)]


def test_an_error_while_writing_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")

    def write_half() -> None:
        with private_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_private(tmp_path / "missing" / "secret", b"x")


def test_what_a_crash_left_of_one_file_is_discarded_and_nothing_else(tmp_path: Path) -> None:
    names = [".admin.key.0a1b2c3d.partial", ".other.key.0a1b2c3d.partial", "admin.key"]
    for name in names:
        (tmp_path / name).touch()
    discard_partials(tmp_path / "admin.key")
    assert sorted(path.name for path in tmp_path.iterdir()) == names[1:]
