"""Reading a backup: nothing of it is believed before it is checked, and all of it is checked."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.backup import cipher, store
from app.backup.archive import PIECE, Unpacker
from app.backup.errors import BackupError
from app.backup.manifest import (
    CONFIG,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Manifest,
    Signed,
    is_signed_by,
    read_manifest,
)
from app.backup.scratch import require_space
from app.signing.keys import SigningKeyError, SigningKeys
from app.storage.connection import DATABASE_NAME

_AGE = b"age-encryption.org/"
_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"


def unpack_and_prove(
    path: Path,
    folder: Path,
    identities: Sequence[cipher.Identity],
    trusted: Sequence[Ed25519PublicKey] = (),
) -> Signed:
    """Unpack the backup `path` into the empty `folder` and check everything in it.

    The seal, the signature (by one of the `trusted` keys, if there are any), every digest, the private keys, and the
    database: integrity, audit chain, newest publication. It then has this release's schema. Raises `BackupError`.
    """
    try:
        with _plain(path, folder, identities) as file:
            signed = _unpack(file, folder, trusted)
    except OSError as error:
        raise BackupError(f"{error.filename or path}: {error.strerror}") from error
    _check_keys(folder, signed.manifest)
    had = store.bring_up(folder / DATABASE_NAME)
    found = store.prove(folder / DATABASE_NAME, signed.manifest.keys_of("manifest"))
    if msgspec.structs.replace(found, migrations=had) != signed.manifest.contents:
        raise BackupError("its database is not the one that its manifest describes")
    return signed


def is_encrypted(path: Path) -> bool:
    """Does the file begin as an age file does?"""
    with path.open("rb") as file:
        return file.read(len(_AGE)) == _AGE


def _plain(path: Path, folder: Path, identities: Sequence[cipher.Identity]) -> BinaryIO:
    """The file as it was before it was encrypted; what is decrypted has no name and goes when it is closed."""
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
            cipher.decrypt(iter(lambda: file.read(PIECE), b""), plain, identities)
    except BaseException:
        plain.close()
        raise
    return plain


def _unpack(file: BinaryIO, folder: Path, trusted: Sequence[Ed25519PublicKey]) -> Signed:
    archive = Unpacker(file)
    _, content = archive.member(MANIFEST, MAX_MANIFEST_BYTES)
    signed = read_manifest(b"".join(content))
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


def _check_keys(folder: Path, manifest: Manifest) -> None:
    """Private keys, where there are any, must be those whose public halves the manifest names."""
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
