"""Restoring a backup: everything is checked first, then all that belongs together is exchanged at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.backup import cipher, store
from app.backup.errors import BackupError
from app.backup.host import Present, held, present, replaced_name
from app.backup.manifest import ADMIN_KEY, Signed, is_signed_by
from app.backup.opening import config_of, unpack_and_prove
from app.backup.scratch import scratch_folder
from app.signing.keys import FOLDER, SigningKeys
from app.storage import StorageError
from app.storage.connection import DATABASE_NAME
from app.storage.swap import NEW, swap

RESTORED_CONFIG = "restored-config.toml"
Keys = Literal["restored", "kept", "new"]

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
class Terms:
    """How a backup may be restored: who signed it, if that is known, and whether it may be of another instance."""

    identities: Sequence[cipher.Identity] = ()
    trusted: Sequence[Ed25519PublicKey] = ()
    replace: bool = False


class Restored(msgspec.Struct, frozen=True):
    """What a restore did; `replaced` is the folder with what was there before, None when nothing was."""

    file: str
    at: str
    release: str
    issuer: str
    serial: int | None
    etag: str | None
    keys: Keys
    replaced: str | None
    config: str | None
    warnings: list[str]


def restore_backup(path: Path, state_dir: Path, terms: Terms, operator: str, now: datetime) -> Restored:
    """Put the instance of a backup into the state folder, which nobody else may have.

    What is there is moved to `<state>/replaced-<stamp>` as a whole. Until everything is checked nothing changes, and
    from then on the next start finishes the restore if this process does not. Raises `BackupError`.
    """
    try:
        with held(state_dir, "threatcloud backup restore"), scratch_folder(state_dir) as scratch:
            return _restore(path, state_dir, scratch, terms, operator, now)
    except OSError as error:
        raise BackupError(f"{error.filename or state_dir}: {error.strerror}") from error
    except StorageError as error:
        raise BackupError(str(error)) from error


def _restore(
    path: Path, state_dir: Path, scratch: Path, terms: Terms, operator: str, now: datetime
) -> Restored:
    new = scratch / NEW
    new.mkdir(mode=0o700)
    signed = unpack_and_prove(path, new, terms.identities, terms.trusted)
    here = present(state_dir)
    if (why := foreign(signed, here, terms)) is not None and not terms.replace:
        raise BackupError(f"{why}; --replace puts it here all the same")
    manifest = signed.manifest
    keys = fate_of_keys(signed, here)
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
    store.note_restored(new / DATABASE_NAME, path.name, operator, detail, now)
    replaced = replaced_name(state_dir, now)
    swap(state_dir, scratch, replaced, aside)
    return Restored(
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


def foreign(signed: Signed, here: Present, terms: Terms) -> str | None:
    """Why the backup is not one of the instance that is here; None when it is, or nothing is here.

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


def fate_of_keys(signed: Signed, here: Present) -> Keys:
    """Which private keys the instance has afterwards; those of another instance are never kept for it."""
    if signed.manifest.has_keys:
        return "restored"
    if here.keys is None:
        return "new"
    if here.issuer is None:
        return "kept" if _signed_here(signed, here.keys) else "new"
    return "kept" if here.issuer == signed.manifest.iss else "new"


def _signed_here(signed: Signed, keys: SigningKeys) -> bool:
    return is_signed_by(signed, [key.public for key in keys.of("manifest")])
