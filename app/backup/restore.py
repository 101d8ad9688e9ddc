"""Restore a backup: everything in it is checked first, then all that belongs together is swapped at once.

`unpack_and_verify` reads a backup; `create` and `backup verify` use it too. Nothing of a backup is believed before it
is checked, and all of it is checked.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.archives import PIECE_BYTES
from app.backup import cipher, store
from app.backup.archive import archive_errors, open_archive
from app.backup.errors import BackupError
from app.backup.host import (
    PresentInstance,
    locked_state_folder,
    present_instance,
    replaced_name,
    require_space,
    scratch_folder,
)
from app.backup.manifest import (
    ADMIN_KEY,
    CONFIG,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    BackupManifest,
    SignedManifest,
    is_signed_by,
    read_manifest,
)
from app.signing.keys import FOLDER, SigningKeyError, SigningKeys
from app.storage import StorageError
from app.storage.connection import DATABASE_NAME
from app.storage.swap import NEW, swap

RESTORED_CONFIG = "restored-config.toml"
KeysAfterRestore = Literal["restored", "kept", "new"]

NEW_KEYS = (
    "The backup has no private keys, and there are none of this instance here: the next start makes new ones. Every"
    " key that was issued is void; issue new ones, and give every host the new /.well-known/rule-key.pem."
)
UNKNOWN_SIGNER = (
    "Nothing here says whose backup this is. It is whole and signed by {kid}; whether that is your instance's key,"
    " only a copy of its /.well-known/manifest-key.pem can tell (--key PEM)."
)
OTHER_CONFIG = "The configuration of then is in {path}; the one in force is as it was: compare the two."


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """How a backup may be restored: who signed it, if that is known, and whether it may be of another instance."""

    identities: Sequence[cipher.Identity] = ()
    trusted: Sequence[Ed25519PublicKey] = ()
    replace: bool = False


class RestoredBackup(msgspec.Struct, frozen=True):
    """The result of a restore; `replaced` is the folder with what was there before, None when nothing was."""

    file: str
    at: str
    release: str
    issuer: str
    serial: int | None
    etag: str | None
    keys: KeysAfterRestore
    replaced: str | None
    config: str | None
    warnings: list[str]


def restore_backup(
    path: Path, state_dir: Path, terms: RestoreOptions, operator: str, now: datetime
) -> RestoredBackup:
    """Put the instance of a backup into the state folder, which no other process may hold.

    What is there is moved to `<state>/replaced-<stamp>` as a whole. Until everything is checked nothing changes, and
    from then on the next start finishes the restore if this process does not. Raise `BackupError`.
    """
    try:
        with (
            locked_state_folder(state_dir, "threatcloud backup restore"),
            scratch_folder(state_dir) as scratch,
        ):
            return _restore_backup(path, state_dir, scratch, terms, operator, now)
    except OSError as error:
        raise BackupError(f"{error.filename or state_dir}: {error.strerror}") from error
    except StorageError as error:
        raise BackupError(str(error)) from error


def _restore_backup(
    path: Path, state_dir: Path, scratch: Path, terms: RestoreOptions, operator: str, now: datetime
) -> RestoredBackup:
    new = scratch / NEW
    new.mkdir(mode=0o700)
    signed = unpack_and_verify(path, new, terms.identities, terms.trusted)
    here = present_instance(state_dir)
    if (why := why_not_ours(signed, here, terms)) is not None and not terms.replace:
        raise BackupError(f"{why}; --replace puts it here all the same")
    manifest = signed.manifest
    keys = keys_after_restore(signed, here)
    aside = () if keys == "kept" else (FOLDER, ADMIN_KEY)
    if not manifest.has_keys:
        (new / FOLDER).rmdir()
    warnings = [NEW_KEYS] if keys == "new" else []
    if here.is_empty and not terms.trusted:
        warnings.append(UNKNOWN_SIGNER.format(kid=signed.kid))
    has_config = config_of(new).exists()
    if has_config:
        config_of(new).rename(new / RESTORED_CONFIG)
        warnings.append(OTHER_CONFIG.format(path=state_dir / RESTORED_CONFIG))
    newest = manifest.contents.publication
    detail = {"at": manifest.at, "release": manifest.release, "signedBy": signed.kid, "keys": keys}
    store.audit_restore(new / DATABASE_NAME, path.name, operator, detail, now)
    replaced = replaced_name(state_dir, now)
    swap(state_dir, scratch, replaced, aside)
    return RestoredBackup(
        file=str(path),
        at=manifest.at,
        release=manifest.release,
        issuer=manifest.iss,
        serial=newest.serial if newest else None,
        etag=newest.etag if newest else None,
        keys=keys,
        replaced=str(state_dir / replaced) if (state_dir / replaced).exists() else None,
        config=str(state_dir / RESTORED_CONFIG) if has_config else None,
        warnings=warnings,
    )


def why_not_ours(signed: SignedManifest, here: PresentInstance, terms: RestoreOptions) -> str | None:
    """Return why the backup is not of the instance that is here; None when it is, or when nothing is here.

    The issuer alone is a claim that anybody can make, so a key that signed here, or was given as trusted, must have
    signed.
    """
    manifest = signed.manifest
    if here.issuer is not None and here.issuer != manifest.iss:
        return f"it is of another instance, {manifest.iss}, and {here.issuer} is here"
    is_known = here.issuer is not None and bool(terms.trusted)
    if here.keys is not None and not is_known and not _signed_here(signed, here.keys):
        return f"it is signed by {signed.kid}, which is no manifest key of the instance that is here"
    return None


def keys_after_restore(signed: SignedManifest, here: PresentInstance) -> KeysAfterRestore:
    """Return which private keys the instance has afterwards; those of another instance are never kept for it."""
    if signed.manifest.has_keys:
        return "restored"
    if here.keys is None:
        return "new"
    if here.issuer is None:
        return "kept" if _signed_here(signed, here.keys) else "new"
    return "kept" if here.issuer == signed.manifest.iss else "new"


def _signed_here(signed: SignedManifest, keys: SigningKeys) -> bool:
    return is_signed_by(signed, [key.public for key in keys.of("manifest")])


_AGE = b"age-encryption.org/"
_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"


def unpack_and_verify(
    path: Path,
    folder: Path,
    identities: Sequence[cipher.Identity],
    trusted: Sequence[Ed25519PublicKey] = (),
) -> SignedManifest:
    """Unpack the backup `path` into the empty `folder` and check everything in it.

    The seal, the signature (by one of the `trusted` keys, if there are any), every digest, the private keys, and the
    database: integrity, audit chain, newest publication. It then has this release's schema. Raise `BackupError`.
    """
    try:
        with _plain(path, folder, identities) as file:
            signed = _unpack(file, folder, trusted)
    except OSError as error:
        raise BackupError(f"{error.filename or path}: {error.strerror}") from error
    _check_keys(folder, signed.manifest)
    had = store.migrate_copy(folder / DATABASE_NAME)
    found = store.verify_database(folder / DATABASE_NAME, signed.manifest.keys_of("manifest"))
    if msgspec.structs.replace(found, migrations=had) != signed.manifest.contents:
        raise BackupError("its database is not the one that its manifest describes")
    return signed


def is_encrypted(path: Path) -> bool:
    """Return True when the file begins as an age file does."""
    with path.open("rb") as file:
        return file.read(len(_AGE)) == _AGE


def _plain(path: Path, folder: Path, identities: Sequence[cipher.Identity]) -> BinaryIO:
    """Open the file, decrypted if it is encrypted; a decrypted one has no name and is gone when it is closed."""
    with path.open("rb") as file:
        start = file.read(len(_ARMOR))
    if start == _ARMOR:
        raise BackupError(
            "it is encrypted in text form: decode it first (base64 between its first and last line)"
        )
    if not start.startswith(_AGE):
        return path.open("rb")
    if not identities:
        raise BackupError("it is encrypted: give the identity that decrypts it (--identity FILE)")
    require_space([(folder, path.stat().st_size)])
    fd = os.open(folder / "plain", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    plain = os.fdopen(fd, "w+b")
    try:
        (folder / "plain").unlink()
        with path.open("rb") as file:
            cipher.decrypt(iter(lambda: file.read(PIECE_BYTES), b""), plain, identities)
    except BaseException:
        plain.close()
        raise
    return plain


@archive_errors()
def _unpack(file: BinaryIO, folder: Path, trusted: Sequence[Ed25519PublicKey]) -> SignedManifest:
    archive = open_archive(file)
    signed = read_manifest(archive.read(MANIFEST, MAX_MANIFEST_BYTES))
    if trusted and not is_signed_by(signed, trusted):
        raise BackupError(
            f"it is not signed by the given key: it is of {signed.manifest.iss!a}, signed by {signed.kid}"
        )
    store.check_release(signed.manifest.contents.migrations)
    require_space([(folder, signed.manifest.unpacked_bytes)])
    (folder / "keys").mkdir(mode=0o700)
    for member in signed.manifest.members:
        size, pieces = archive.member(member.name, member.size)
        # The names are those that the manifest's type allows, so they stay in the folder.
        if (size, _write(folder / member.name, pieces)) != (member.size, member.sha256):
            raise BackupError(f"{member.name} is not what the manifest says")
    archive.finish()
    return signed


def _write(path: Path, pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _check_keys(folder: Path, manifest: BackupManifest) -> None:
    """Raise `BackupError` for private keys whose public halves the manifest does not name."""
    if not manifest.has_keys:
        return
    try:
        found = {key["kid"] for key in SigningKeys.read(folder).jwks()["keys"]}
    except SigningKeyError as error:
        raise BackupError(f"its keys cannot be used: {error}") from None
    if found != {key.kid for key in manifest.public_keys}:
        raise BackupError("its private keys are not those that its manifest names")


def config_of(folder: Path) -> Path:
    """Where the configuration lies once a backup is unpacked; it may have none."""
    return folder / CONFIG
