"""Create a backup: it counts as made only after it was read back whole, unpacked and checked."""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from app import __version__
from app.archives import PIECE_BYTES
from app.backup import cipher, store
from app.backup.archive import pack
from app.backup.catalog import check_label, list_backup_files, next_name, surplus
from app.backup.errors import BackupError
from app.backup.host import finish_interrupted_restore, require_space, scratch_folder, unfinished_file
from app.backup.manifest import (
    ADMIN_KEY,
    CONFIG,
    MANIFEST,
    MAX_SMALL_BYTES,
    PRIVACY_KEY,
    BackupManifest,
    BackupMember,
    NamedPublicKey,
    write_manifest,
)
from app.backup.policy import BackupPolicy
from app.backup.restore import unpack_and_verify
from app.backup.status import (
    BackupStatus,
    FailedBackup,
    VerifiedBackup,
    read_backup_status,
    write_backup_status,
)
from app.http.timestamps import to_text
from app.signing.keys import FOLDER, SigningKeyError, SigningKeys
from app.storage import StorageError
from app.storage.connection import DATABASE_NAME
from app.storage.files import sync_folder
from app.storage.migrate import copy_database


class CreatedBackup(msgspec.Struct, frozen=True):
    """A backup that was made and verified; `removed` are older ones that were deleted since it exists."""

    file: str
    at: str
    bytes: int
    seconds: float
    encrypted: bool
    keys: bool
    issuer: str
    serial: int | None
    etag: str | None
    removed: list[str]


class BackupSource(msgspec.Struct, frozen=True):
    """The parts to back up: the state folder, and the configuration file in force, if there is one."""

    state_dir: Path
    config: Path | None


def create_backup(
    source: BackupSource, target: Path | None, policy: BackupPolicy, label: str | None, now: datetime
) -> CreatedBackup:
    """Make a backup in `target`, or in the policy's folder, where older ones beyond `policy.keep` are then deleted.

    Works beside a running server and without one. Of a backup that failed, only the reason is left, in the status.
    Raise `BackupError`.
    """
    begun = time.monotonic()
    try:
        finish_interrupted_restore(source.state_dir)
        check_label(label)
        made = _create(source, target or backup_folder(source.state_dir, policy), policy, label, now)
        made = msgspec.structs.replace(made, seconds=round(time.monotonic() - begun, 3))
        if target is None:
            made = msgspec.structs.replace(made, removed=_retain(Path(made.file).parent, policy.keep))
    except (BackupError, StorageError, SigningKeyError, OSError) as error:
        sentence = _sentence(error)
        status = read_backup_status(source.state_dir)
        with contextlib.suppress(OSError):  # the disk may be what failed; the exit code says so too
            write_backup_status(
                source.state_dir, msgspec.structs.replace(status, failed=FailedBackup(to_text(now), sentence))
            )
        raise BackupError(sentence) from error
    verified = VerifiedBackup(made.at, made.file, made.bytes, made.seconds, made.encrypted, made.keys)
    with contextlib.suppress(OSError):
        write_backup_status(
            source.state_dir, BackupStatus(verified, read_backup_status(source.state_dir).failed)
        )
    return made


def backup_folder(state_dir: Path, policy: BackupPolicy) -> Path:
    """Return the folder where backups are kept."""
    return Path(policy.folder).absolute() if policy.folder else state_dir / "backups"


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return str(error)


def _create(
    source: BackupSource, folder: Path, policy: BackupPolicy, label: str | None, now: datetime
) -> CreatedBackup:
    recipients = cipher.read_recipients(policy.recipients)
    encrypted = bool(recipients)
    database = source.state_dir / DATABASE_NAME
    if not database.is_file():
        raise BackupError(f"{database} does not exist: start the server once")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _require_space(source.state_dir, folder, database, encrypted=encrypted)
    name = next_name(list_backup_files(folder), label, now, encrypted=encrypted)
    one_time = cipher.new_identity()
    with scratch_folder(source.state_dir) as scratch, unfinished_file(folder / name) as partial:
        copy = scratch / DATABASE_NAME
        copy_database(database, copy)
        keys = SigningKeys.read(source.state_dir)
        members = _members(source, copy, with_keys=policy.with_keys(encrypted=encrypted))
        manifest = _manifest(members, copy, keys, label, now)
        pieces = _pack(members, manifest, keys)
        with partial.open("r+b") as file:
            if encrypted:
                cipher.encrypt(pieces, file, [*recipients, one_time.to_public()])
            else:
                file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        copy.unlink()
        _verify(partial, scratch, one_time, manifest, keys)
        size = partial.stat().st_size
        partial.rename(folder / name)
        sync_folder(folder)
    newest = manifest.contents.publication
    return CreatedBackup(
        file=str(folder / name),
        at=manifest.at,
        bytes=size,
        seconds=0.0,
        encrypted=encrypted,
        keys=manifest.has_keys,
        issuer=manifest.iss,
        serial=newest.serial if newest else None,
        etag=newest.etag if newest else None,
        removed=[],
    )


def _require_space(state_dir: Path, folder: Path, database: Path, *, encrypted: bool) -> None:
    """Raise `BackupError` without room for a backup.

    The copy and what is unpacked again are never there together; a packed file is not larger than its content.
    """
    size = sum(
        path.stat().st_size
        for path in (database, database.with_name(f"{DATABASE_NAME}-wal"))
        if path.exists()
    )
    require_space([(state_dir, size * (2 if encrypted else 1)), (folder, size)])


def _members(source: BackupSource, copy: Path, *, with_keys: bool) -> dict[str, Path]:
    """Return `name in the archive -> file`, in the order of the archive."""
    members = {DATABASE_NAME: copy}
    if source.config is not None:
        members[CONFIG] = source.config
    if with_keys:
        folder = source.state_dir / FOLDER
        members |= {f"{FOLDER}/{path.name}": path for path in sorted(folder.glob("*.pem"))}
        others = {PRIVACY_KEY: source.state_dir / PRIVACY_KEY, ADMIN_KEY: source.state_dir / ADMIN_KEY}
        members |= {name: path for name, path in others.items() if path.is_file()}
    return members


def _manifest(
    members: dict[str, Path], copy: Path, keys: SigningKeys, label: str | None, now: datetime
) -> BackupManifest:
    contents = store.describe_database(copy)
    return BackupManifest(
        iss=contents.issuer,
        at=to_text(now),
        label=label,
        release=__version__,
        contents=contents,
        public_keys=tuple(
            msgspec.convert({"use": key["threatcloud_use"], "kid": key["kid"], "x": key["x"]}, NamedPublicKey)
            for key in keys.jwks()["keys"]
        ),
        members=tuple(_described(name, path) for name, path in members.items()),
    )


def _described(name: str, path: Path) -> BackupMember:
    digest, size = hashlib.sha256(), 0
    for piece in _pieces(path):
        digest.update(piece)
        size += len(piece)
    if name != DATABASE_NAME and size > MAX_SMALL_BYTES:
        raise BackupError(f"{path} is larger than {MAX_SMALL_BYTES} bytes")
    return BackupMember(name, size, digest.hexdigest())


def _pack(members: dict[str, Path], manifest: BackupManifest, keys: SigningKeys) -> Iterator[bytes]:
    token = write_manifest(manifest, keys.signer("manifest"))
    files = ((member.name, member.size, _pieces(members[member.name])) for member in manifest.members)
    return pack([(MANIFEST, len(token), [token]), *files])


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _verify(
    partial: Path, scratch: Path, one_time: cipher.Identity, manifest: BackupManifest, keys: SigningKeys
) -> None:
    """Read the file from the disk as a restore would, and check that it is the intended backup."""
    place = scratch / "verification"
    place.mkdir(mode=0o700)
    try:
        signed = unpack_and_verify(partial, place, [one_time], [keys.signer("manifest").public])
    except BackupError as error:
        raise BackupError(f"the backup was written, but is not good: {error}") from error
    if signed.manifest != manifest:
        raise BackupError("the backup was written, but holds something else")


def _retain(folder: Path, keep: int) -> list[str]:
    removed = [backup.file for backup in surplus(list_backup_files(folder), keep)]
    for file in removed:
        Path(file).unlink(missing_ok=True)
    sync_folder(folder)
    return removed
