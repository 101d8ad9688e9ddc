"""Database snapshots of upgrades, and rehearsals of them.

A snapshot, `<state>/snapshots/before-<release>.db`, is the database as it was before an upgrade changed its schema.
In a rehearsal this release works on a copy of the database, and nothing that is in use is touched.
"""

import re
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from app.backup import store
from app.backup.errors import BackupError
from app.backup.host import (
    finish_interrupted_restore,
    locked_state_folder,
    present_instance,
    replaced_name,
    require_space,
    scratch_folder,
)
from app.http.timestamps import to_text
from app.signing.keys import SigningKeyError, SigningKeys
from app.storage import StorageError
from app.storage.connection import DATABASE_NAME
from app.storage.migrate import copy_database
from app.storage.swap import NEW, swap

FOLDER = "snapshots"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,100}")


class DatabaseSnapshot(msgspec.Struct, frozen=True):
    """One snapshot; `problem` says why this release cannot restore it."""

    name: str
    at: str
    bytes: int
    migrations: int
    serial: int | None
    problem: str | None


class RestoredSnapshot(msgspec.Struct, frozen=True):
    """The result of restoring a snapshot: `replaced` is the folder with the database that was there before."""

    name: str
    serial: int | None
    replaced: str | None


def list_snapshots(state_dir: Path) -> list[DatabaseSnapshot]:
    """Return the snapshots, newest first."""
    paths = [path for path in (state_dir / FOLDER).glob("*.db") if path.is_file()]
    return sorted(map(_inspect_snapshot, paths), key=lambda snapshot: snapshot.at, reverse=True)


def _inspect_snapshot(path: Path) -> DatabaseSnapshot:
    found = path.stat()
    migrations, serial, problem = 0, None, None
    try:
        names = store.migrations_of(path)
        migrations = len(names)
        store.check_release(names)
        publication = store.describe_database(path).publication
        serial = publication.serial if publication else None
    except BackupError as error:
        problem = str(error)
    at = to_text(datetime.fromtimestamp(found.st_mtime, UTC))
    return DatabaseSnapshot(path.stem, at, found.st_size, migrations, serial, problem)


def restore_snapshot(name: str, state_dir: Path, operator: str, now: datetime) -> RestoredSnapshot:
    """Put a snapshot in place of the database; the snapshot stays, and so do the keys.

    The present database and its log are moved to `<state>/replaced-<stamp>` together. What was written since the
    snapshot is there and nowhere else. Raise `BackupError`.
    """
    try:
        with (
            locked_state_folder(state_dir, "threatcloud snapshot restore"),
            scratch_folder(state_dir) as scratch,
        ):
            return _restore_snapshot(name.removesuffix(".db"), state_dir, scratch, operator, now)
    except OSError as error:
        raise BackupError(f"{error.filename or state_dir}: {error.strerror}") from error
    except StorageError as error:
        raise BackupError(str(error)) from error


def _restore_snapshot(
    name: str, state_dir: Path, scratch: Path, operator: str, now: datetime
) -> RestoredSnapshot:
    path = state_dir / FOLDER / f"{name}.db"
    if not _NAME.fullmatch(name) or not path.is_file():
        raise BackupError(f"there is no snapshot {name!a}: see threatcloud snapshot list")
    require_space([(state_dir, path.stat().st_size)])
    new = scratch / NEW
    new.mkdir(mode=0o700)
    copy = new / DATABASE_NAME
    shutil.copyfile(path, copy)
    copy.chmod(0o600)
    try:
        store.check_release(store.migrations_of(copy))
        store.check_sound(copy)
        contents = store.describe_database(copy)
    except BackupError as error:
        raise BackupError(f"snapshot {name} cannot be restored: {error}") from error
    here = present_instance(state_dir).issuer
    if here not in {None, contents.issuer}:
        raise BackupError(f"snapshot {name} is of another instance, {contents.issuer}, and {here} is here")
    store.audit_restore(copy, f"snapshot {name}", operator, {"migrations": len(contents.migrations)}, now)
    replaced = replaced_name(state_dir, now)
    swap(state_dir, scratch, replaced)
    return RestoredSnapshot(
        name=name,
        serial=contents.publication.serial if contents.publication else None,
        replaced=str(state_dir / replaced) if (state_dir / replaced).exists() else None,
    )


class UpgradeRehearsal(msgspec.Struct, frozen=True):
    """The result: `migrations` are those that the start of this release will apply."""

    migrations: list[str]
    serial: int | None
    rebuilds: bool
    """True when the newest publication must be built again at the start, under the same serial and ETag."""
    seconds: float


def rehearse_upgrade(state_dir: Path) -> UpgradeRehearsal:
    """Migrate a copy and check it as a backup is checked; raise `BackupError` with the reason not to upgrade.

    Works beside a running server of another release.
    """
    begun = time.monotonic()
    try:
        finish_interrupted_restore(state_dir)
        database = state_dir / DATABASE_NAME
        if not database.is_file():
            raise BackupError(f"{database} does not exist: there is nothing to rehearse with")
        size = sum(path.stat().st_size for path in state_dir.glob(f"{DATABASE_NAME}*") if path.is_file())
        require_space([(state_dir, 2 * size)])
        keys = SigningKeys.read(state_dir)
        with scratch_folder(state_dir) as scratch:
            copy = scratch / DATABASE_NAME
            copy_database(database, copy)
            store.check_sound(copy)
            had = store.migrate_copy(copy)
            contents = store.verify_database(copy, [key.public for key in keys.of("manifest")])
            is_kept = contents.publication is None or store.can_serve_as_kept(copy)
    except OSError as error:
        raise BackupError(f"{error.filename or state_dir}: {error.strerror}") from error
    except (StorageError, SigningKeyError) as error:
        raise BackupError(str(error)) from error
    return UpgradeRehearsal(
        migrations=list(contents.migrations[len(had) :]),
        serial=contents.publication.serial if contents.publication else None,
        rebuilds=not is_kept,
        seconds=round(time.monotonic() - begun, 3),
    )
