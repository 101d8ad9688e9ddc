"""The exchange of a state folder: killed at every step, the next start finds all of the old or all of the new."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.backup import store
from app.backup.errors import BackupError
from app.backup.host import locked_state_folder
from app.backup.manifest import DatabaseContents
from app.backup.restore import RESTORED_CONFIG, RestoreOptions, restore_backup
from app.backup.snapshots import restore_snapshot
from app.signing.keys import SigningKeys
from app.storage import Storage
from app.storage.lock import ProcessLock
from app.storage.migrate import copy_database
from app.storage.swap import is_swap_pending
from tests.backup.conftest import Origin
from tests.clock import NOW
from tests.needs import need_root

CHANGES = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "os.chmod"}
"""What Python tells its audit hooks before it changes a folder; opening a file for writing comes on top."""


def killed_at(step: int, act: Callable[[], Any]) -> bool:
    """Run `act` in a child that is killed right before its change number `step`; False when it had fewer."""
    child = os.fork()
    if child == 0:
        done = 0

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal done
            writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
            if event in CHANGES or writes:
                done += 1
                if done == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            act()
        except BaseException:
            os._exit(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def whole(state: Path) -> DatabaseContents:
    """What is in the state folder, with every check: the publication is one that its keys signed."""
    keys = SigningKeys.read(state).of("manifest")
    copy = state.parent / "looked-at.db"
    copy.unlink(missing_ok=True)
    copy_database(state / "threatcloud.db", copy)
    return store.verify_database(copy, [key.public for key in keys])


def names(state: Path) -> set[str]:
    return {path.name for path in state.iterdir()} - {"threatcloud.db-shm", "threatcloud.db-wal"}


def start(state: Path) -> None:
    """As far as every start goes that opens the database."""
    with ProcessLock(state, "test"):
        asyncio.run(Storage(state).close())


def test_a_restore_killed_anywhere_is_whole_or_undone(origin: Origin, tmp_path: Path) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    shutil.copytree(origin.crashed, template)
    old, step, finished_by_start = whole(template), 0, 0
    stale_wal = (template / "threatcloud.db-wal").read_bytes()
    assert stale_wal
    restored_once = False
    while True:
        step += 1
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(template, state)
        if not killed_at(step, lambda: restore_backup(origin.whole, state, RestoreOptions(), "tester", NOW)):
            break
        pending = is_swap_pending(state)
        finished_by_start += pending
        if pending and (state / "threatcloud.db").exists():
            left = list((state / ".swap" / "new").iterdir())
            assert not left or not list(state.glob("replaced-*/*")), (
                "nobody may see one's database with other's keys"
            )
        start(state)
        assert not is_swap_pending(state)
        found = whole(state)
        if found.audit == old.audit:
            assert not pending and not restored_once, "once decided, a restore is carried out"
            assert not list(state.glob("replaced-*"))
        else:
            restored_once = True
            assert found.audit.entries == old.audit.entries + 1
            (replaced,) = state.glob("replaced-*")
            assert (replaced / "threatcloud.db-wal").read_bytes() == stale_wal
            assert whole(replaced) == old
            assert (state / RESTORED_CONFIG).read_text() == origin.config
    assert step > 25, "the steps must have been seen"
    assert finished_by_start > 8, "some of them lie between the decision and its end"
    assert whole(state).audit == found.audit
    assert not list(state.glob(".swap*"))


def test_a_snapshot_restore_killed_anywhere_is_whole_or_undone(origin: Origin, tmp_path: Path) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    shutil.copytree(origin.crashed, template)
    (template / "snapshots").mkdir()
    copy_database(template / "threatcloud.db", template / "snapshots" / "before-1.0.db")
    old, step = whole(template), 0
    while True:
        step += 1
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(template, state)
        if not killed_at(step, lambda: restore_snapshot("before-1.0", state, "tester", NOW)):
            break
        start(state)
        found = whole(state)
        assert found.audit.entries in {old.audit.entries, old.audit.entries + 1}
        assert found.publication == old.publication
        assert (found.audit.entries > old.audit.entries) == bool(list(state.glob("replaced-*")))
    assert step > 12


def test_a_start_killed_while_it_finishes_a_swap_is_repeated(origin: Origin, tmp_path: Path) -> None:
    """A restore dies half way, so does each start after it, one step later every time: it still comes to its end."""
    state = tmp_path / "state"
    shutil.copytree(origin.crashed, state)

    def restore() -> object:
        return restore_backup(origin.whole, state, RestoreOptions(), "tester", NOW)

    step = 1
    while not is_swap_pending(state):
        step += 1
        assert killed_at(step, restore)

    def finish() -> None:
        with locked_state_folder(state, "test"):
            pass

    attempts = 1
    # Opening and emptying the lock's file, making the folder and one rename come before the fifth change.
    while killed_at(5, finish):
        attempts += 1
        assert attempts < 40
    assert attempts > 2
    assert whole(state).issuer == whole(next(state.glob("replaced-*"))).issuer
    assert not is_swap_pending(state)


def test_a_command_finishes_an_interrupted_restore(origin: Origin, tmp_path: Path) -> None:
    """Until then `doctor` says so; a backup is made of the restored instance, not of a folder between two."""
    server = origin.server(tmp_path / "host")
    state = server.state_dir
    shutil.copytree(origin.crashed, state)
    step = 1
    while not is_swap_pending(state):
        step += 1
        assert killed_at(step, lambda: restore_backup(origin.whole, state, RestoreOptions(), "tester", NOW))
    assert '"a restore was interrupted"' in server.cli("doctor", "--json", check=False).stdout
    server.cli("backup", "create")
    assert not is_swap_pending(state)
    assert whole(state).audit.entries == whole(next(state.glob("replaced-*"))).audit.entries + 1


def test_root_leaves_nothing_that_the_owner_could_not_read(origin: Origin, tmp_path: Path) -> None:
    need_root()
    server = origin.server(tmp_path / "host")
    shutil.copytree(origin.crashed, server.state_dir)
    os.chown(server.state_dir, 65534, 65534)
    for command in (("backup", "create"), ("backup", "restore", str(origin.whole)), ("upgrade", "rehearse")):
        done = server.cli(*command, check=False)
        assert done.returncode == 1
        assert "belongs to user 65534: run this as that user" in done.stdout + done.stderr
    assert all(path.stat().st_uid == 0 for path in server.state_dir.iterdir()), "as they were copied"


def test_the_next_command_clears_away_what_a_killed_one_left(origin: Origin, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(origin.crashed, state)
    before = names(state)
    assert killed_at(8, lambda: restore_backup(origin.whole, state, RestoreOptions(), "tester", NOW))
    assert any(path.name.startswith(".scratch-") for path in state.iterdir())
    with pytest.raises(BackupError):
        restore_backup(tmp_path / "missing", state, RestoreOptions(), "tester", NOW)
    assert names(state) - {"threatcloud.lock"} == before
