"""Rehearsing an upgrade: this release works on a copy of the database, and nothing that is in use is touched."""

import time
from pathlib import Path

import msgspec

from app.backup import store
from app.backup.errors import BackupError
from app.backup.host import settle
from app.backup.scratch import require_space, scratch_folder
from app.signing.keys import SigningKeyError, SigningKeys
from app.storage import StorageError
from app.storage.connection import DATABASE_NAME
from app.storage.migrate import copy_database


class Rehearsal(msgspec.Struct, frozen=True):
    """How it went: `migrations` are those that the start of this release will apply."""

    migrations: list[str]
    serial: int | None
    rebuilds: bool
    """The newest publication has to be built anew at the start, under the same serial and ETag."""
    seconds: float


def rehearse(state_dir: Path) -> Rehearsal:
    """Migrate a copy and check it as a backup is checked; raises `BackupError` with the reason not to upgrade.

    Works beside a running server of another release.
    """
    begun = time.monotonic()
    try:
        settle(state_dir)
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
            had = store.bring_up(copy)
            contents = store.prove(copy, [key.public for key in keys.of("manifest")])
            is_kept = contents.publication is None or store.loads(copy)
    except OSError as error:
        raise BackupError(f"{error.filename or state_dir}: {error.strerror}") from error
    except (StorageError, SigningKeyError) as error:
        raise BackupError(str(error)) from error
    return Rehearsal(
        migrations=list(contents.migrations[len(had) :]),
        serial=contents.publication.serial if contents.publication else None,
        rebuilds=not is_kept,
        seconds=round(time.monotonic() - begun, 3),
    )
