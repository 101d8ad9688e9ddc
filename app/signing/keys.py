"""The instance's own Ed25519 keys: private halves on disk for the service user alone, never in the database.

The newest key of each use signs. Older ones stay accepted, so that what they signed remains valid until
an admin retires them: rotation with overlap.
"""

from __future__ import annotations

import base64
import hashlib
import re
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.storage.files import sync_folder, write_private

KeyUse = Literal["access", "manifest", "rule"]
USES: tuple[KeyUse, ...] = get_args(KeyUse)
FOLDER = "keys"
_NAME = re.compile(r"(access|manifest|rule)-([0-9]{8}T[0-9]{6}Z)-(\1-[0-9a-f]{16})\.pem")
_STAMP = "%Y%m%dT%H%M%SZ"


class SigningKeyError(Exception):
    """The keys on disk cannot be used or changed as asked; the message says what to do."""


class UnknownSigningKey(SigningKeyError):
    """No signing key has this id."""


class ActiveSigningKey(SigningKeyError):
    """The key still signs, so it cannot be retired: rotate first."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key pair; `kid` is `<use>-` and 16 hex digits of the SHA-256 of its public key (SPKI, DER)."""

    use: KeyUse
    kid: str
    created: datetime
    private: Ed25519PrivateKey
    public: Ed25519PublicKey

    @property
    def file_name(self) -> str:
        """`<use>-<instant>-<kid>.pem`."""
        return f"{self.use}-{self.created:{_STAMP}}-{self.kid}.pem"


class SigningKeys:
    """All signing keys of an instance; methods that change them return when the disk has it."""

    def __init__(self, folder: Path, keys: list[SigningKey]) -> None:
        self._folder = folder
        self._keys = tuple(sorted(keys, key=lambda key: (key.use, key.created), reverse=True))

    @classmethod
    def open(cls, state_dir: Path, now: datetime) -> SigningKeys:
        """Read `<state_dir>/keys`, and make the folder and a first key of each use where they are missing.

        Raise `SigningKeyError` when the folder or a file is open to others than its owner, or damaged.
        """
        folder = state_dir / FOLDER
        if not folder.exists():
            folder.mkdir(mode=0o700)
            sync_folder(state_dir)
        _refuse_if_shared(folder, "0700")
        for unfinished in folder.glob("*.partial"):
            unfinished.unlink()
        keys = cls(folder, [_load(path) for path in sorted(folder.glob("*.pem"))])
        for use in USES:
            if not keys.of(use):
                keys.rotate(use, now)
        return keys

    @classmethod
    def read(cls, state_dir: Path) -> SigningKeys:
        """Read the existing keys beside a running server: nothing is made or cleared away.

        Raise `SigningKeyError` as `open` does, and when a use has no key.
        """
        folder = state_dir / FOLDER
        if not folder.is_dir():
            raise SigningKeyError(f"{folder} does not exist: start the server once")
        _refuse_if_shared(folder, "0700")
        keys = cls(folder, [_load(path) for path in sorted(folder.glob("*.pem"))])
        for use in USES:
            if not keys.of(use):
                raise SigningKeyError(f"{folder} has no {use} key: start the server once")
        return keys

    def of(self, use: KeyUse) -> tuple[SigningKey, ...]:
        """Return the keys of one use, the signing one first."""
        return tuple(key for key in self._keys if key.use == use)

    def signer(self, use: KeyUse) -> SigningKey:
        """Return the key that signs now."""
        return self.of(use)[0]

    def public(self, use: KeyUse, kid: str) -> Ed25519PublicKey | None:
        """Return the accepted public key of this use and id, or None."""
        return next((key.public for key in self._keys if key.kid == kid and key.use == use), None)

    def rotate(self, use: KeyUse, now: datetime) -> str:
        """Make a new key that signs from now on; the old ones stay accepted. Return its id."""
        created = now.astimezone(UTC).replace(microsecond=0)
        if older := self.of(use):
            # The newest by name signs, also after a second rotation in one second or with a clock set back.
            created = max(created, older[0].created + timedelta(seconds=1))
        private = Ed25519PrivateKey.generate()
        key = SigningKey(use, kid_of(use, private.public_key()), created, private, private.public_key())
        _write(self._folder / key.file_name, private)
        self._keys = tuple(sorted((*self._keys, key), key=lambda k: (k.use, k.created), reverse=True))
        return key.kid

    def retire(self, kid: str) -> SigningKey:
        """Delete an old key: what it signed is no longer accepted. Return the deleted key.

        Raise `UnknownSigningKey`, or `ActiveSigningKey` for the one that signs.
        """
        key = next((key for key in self._keys if key.kid == kid), None)
        if key is None:
            raise UnknownSigningKey("no signing key has this id")
        if key == self.signer(key.use):
            raise ActiveSigningKey("this key signs now: rotate it first, retire it when nothing needs it")
        (self._folder / key.file_name).unlink()
        sync_folder(self._folder)
        self._keys = tuple(other for other in self._keys if other.kid != kid)
        return key

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the accepted public keys as a JWK set (RFC 7517, RFC 8037), the signing one of each use first.

        The private member `threatcloud_use` tells keys for access tokens, manifests and rules apart.
        """
        return {"keys": [_jwk(key) for key in self._keys]}

    def pem(self, use: KeyUse) -> str:
        """Return the public key that verifies what is signed now, as SPKI PEM."""
        return (
            self.signer(use)
            .public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode("ascii")
        )


def kid_of(use: KeyUse, public: Ed25519PublicKey) -> str:
    """Return `<use>-` and 16 hex digits of the SHA-256 of the public key (SPKI, DER)."""
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"{use}-{hashlib.sha256(der).hexdigest()[:16]}"


def _jwk(key: SigningKey) -> dict[str, str]:
    raw = key.public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": base64.urlsafe_b64encode(raw).decode("ascii").rstrip("="),
        "kid": key.kid,
        "use": "sig",
        "alg": "EdDSA",
        "threatcloud_use": key.use,
    }


def _load(path: Path) -> SigningKey:
    _refuse_if_shared(path, "0600")
    name = _NAME.fullmatch(path.name)
    try:
        created = datetime.strptime(name[2] if name else "", _STAMP).replace(tzinfo=UTC)
    except ValueError:
        name = None
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningKeyError(f"{path} is not a readable private key: restore it from a backup") from error
    if name is None or not isinstance(private, Ed25519PrivateKey):
        raise SigningKeyError(f"{path} is not an Ed25519 key named <use>-<instant>-<kid>.pem: move it away")
    use: KeyUse = next(use for use in USES if use == name[1])
    if kid_of(use, private.public_key()) != name[3]:
        raise SigningKeyError(f"{path} holds another key than its name says: restore it from a backup")
    return SigningKey(use, name[3], created, private, private.public_key())


def _refuse_if_shared(path: Path, wanted: str) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise SigningKeyError(
            f"{path} has mode {mode:04o}, so others than its owner could use the signing keys: "
            f"if nobody did, run chmod {wanted} {path}; otherwise rotate them"
        )


def _write(path: Path, private: Ed25519PrivateKey) -> None:
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(path, pem)
