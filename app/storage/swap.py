"""The staged swap: put another database and its files into a state folder, all of them or none, even after a crash.

The new files are complete in `<somewhere>/new`, on the same file system. One rename makes that `<state>/.swap`, and
from then on the swap is decided: it is finished now, or when the state folder is opened next. Each step is a rename,
and the next attempt sees which ones were done. A log (`-wal`) of the old database is moved aside with it before the
new database is in its place, so the two never meet.
"""

import shutil
from pathlib import Path

import msgspec

from app.storage.connection import DATABASE_NAME
from app.storage.errors import StorageError
from app.storage.files import sync_folder, sync_tree

FOLDER = ".swap"
NEW = "new"
DATABASE_FILES = (DATABASE_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm")
_PLAN = "plan.json"
_DONE = ".scratch-swapped"


class Plan(msgspec.Struct, frozen=True):
    """`aside`: names that leave the state folder for its folder `replaced`; `into`: names in `new` that come in."""

    replaced: str
    aside: tuple[str, ...]
    into: tuple[str, ...]


def swap(state_dir: Path, staged: Path, replaced: str, also_aside: tuple[str, ...] = ()) -> None:
    """Move everything in `<staged>/new` in, and what it replaces, and `also_aside`, to `<state>/<replaced>`.

    The caller holds the state folder's `ProcessLock`; `new` holds a whole database. `staged` is consumed. Raises
    `OSError` when nothing has changed, or `StorageError`: then the next start finishes the swap.
    """
    names = sorted(path.name for path in (staged / NEW).iterdir())
    plan = Plan(
        replaced=replaced,
        aside=tuple(dict.fromkeys((*DATABASE_FILES, *names, *also_aside))),
        into=(*(name for name in names if name != DATABASE_NAME), DATABASE_NAME),
    )
    (staged / _PLAN).write_bytes(msgspec.json.encode(plan))
    sync_tree(staged)
    staged.rename(state_dir / FOLDER)
    sync_folder(state_dir)
    finish_swap(state_dir)


def is_swap_pending(state_dir: Path) -> bool:
    """Return whether a swap was decided and is not finished."""
    return (state_dir / FOLDER).exists()


def finish_swap(state_dir: Path) -> bool:
    """Finish a swap that was decided; False when there is none.

    The caller holds the `ProcessLock`. Raises `StorageError`; the next attempt goes on from there.
    """
    folder = state_dir / FOLDER
    if not folder.exists():
        return False
    try:
        _finish(state_dir, folder)
    except (OSError, msgspec.MsgspecError) as error:
        raise StorageError(f"{folder}: a restore that was interrupted cannot be finished: {error}") from error
    return True


def _finish(state_dir: Path, folder: Path) -> None:
    plan = msgspec.json.decode((folder / _PLAN).read_bytes(), type=Plan)
    new = folder / NEW
    _move_aside(state_dir, new, plan)
    for name in plan.into:
        if (new / name).exists():
            (new / name).rename(state_dir / name)
    sync_folder(state_dir)
    done = state_dir / _DONE
    if done.exists():
        shutil.rmtree(done)
    folder.rename(done)
    sync_folder(state_dir)
    shutil.rmtree(done)


def _move_aside(state_dir: Path, new: Path, plan: Plan) -> None:
    """Move the database first: without it, its log is not read as if it were complete."""
    replaced = state_dir / plan.replaced
    for name in plan.aside:
        is_in_already = name in plan.into and not (new / name).exists()
        if (state_dir / name).exists() and not is_in_already:
            replaced.mkdir(mode=0o700, exist_ok=True)
            (state_dir / name).rename(replaced / name)
    if replaced.exists():
        sync_folder(replaced)
    sync_folder(state_dir)
