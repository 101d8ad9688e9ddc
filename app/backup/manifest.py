"""The manifest of a backup: a statement signed by the instance's manifest key, the first member of the archive.

The public key is in it, so that a backup can be checked where nothing is left of the instance. That alone shows that
the file is whole, not which instance it is of: with the public key from elsewhere (`--key`), or on the host of that
instance, this is checked too.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Meta

from app.backup.errors import BackupError
from app.signing.jws import StatementError, peek_unverified, read_statement, sign
from app.signing.keys import KeyUse, SigningKey, kid_of
from app.storage.connection import DATABASE_NAME

FORMAT: Final = 1
MANIFEST = "manifest.jwt"
CONFIG = "config.toml"
ADMIN_KEY = "admin.key"
PRIVACY_KEY = "keys/privacy.key"
MAX_MANIFEST_BYTES = 1 << 20
MAX_SMALL_BYTES = 1 << 20
"""Largest size of every member but the database; a key has 120 bytes."""
MAX_DATABASE_BYTES = 1 << 43

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Instant = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")]
ShortText = Annotated[str, Meta(min_length=1, max_length=256)]
Count = Annotated[int, Meta(ge=0, le=1 << 53)]
SIGNING_KEY_PATTERN = (
    r"keys/(?:access|manifest|rule)-[0-9]{8}T[0-9]{6}Z-(?:access|manifest|rule)-[0-9a-f]{16}\.pem"
)
Name = Annotated[
    str,
    Meta(pattern=rf"^(?:threatcloud\.db|config\.toml|admin\.key|keys/privacy\.key|{SIGNING_KEY_PATTERN})\Z"),
]


class BackupMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file behind the manifest; names are those in the state folder, except the configuration's."""

    name: Name
    size: Annotated[int, Meta(ge=0, le=MAX_DATABASE_BYTES)]
    sha256: Digest


class NamedPublicKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public key of the instance, with the members of its JWK; `x` are its 32 bytes in base64url."""

    use: Literal["access", "manifest", "rule"]
    kid: Annotated[str, Meta(pattern=r"^(?:access|manifest|rule)-[0-9a-f]{16}\Z")]
    x: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]

    def load(self) -> Ed25519PublicKey:
        """Return the key; raise `BackupError` when its id is not that of this key."""
        try:
            key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(f"{self.x}="))
        except (ValueError, binascii.Error):
            raise BackupError(f"its public key {self.kid} is none") from None
        if kid_of(self.use, key) != self.kid:
            raise BackupError(f"its public key {self.kid} is another one than its name says")
        return key


class NewestPublication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The publication that is served; `etag` is the live endpoint's, None when its body must be built again."""

    serial: Count
    etag: ShortText | None
    digest: Digest


class AuditHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Length and head of the audit log."""

    entries: Count
    head: Digest


class DatabaseContents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The facts about a database that its backup states."""

    issuer: ShortText
    migrations: tuple[ShortText, ...]
    publication: NewestPublication | None
    audit: AuditHead


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The statement; `at` is when the copy of the database was begun, `members` are in the order of the archive."""

    iss: ShortText
    format: Literal[1] = FORMAT
    at: Instant
    label: ShortText | None
    release: ShortText
    contents: DatabaseContents
    public_keys: Annotated[tuple[NamedPublicKey, ...], Meta(min_length=1, max_length=1000)]
    members: Annotated[tuple[BackupMember, ...], Meta(min_length=1, max_length=1000)]

    def __post_init__(self) -> None:
        names = [member.name for member in self.members]
        if len(set(names)) != len(names) or DATABASE_NAME not in names:
            raise ValueError("it lists a member twice, or no database")
        if any(m.size > MAX_SMALL_BYTES for m in self.members if m.name != DATABASE_NAME):
            raise ValueError("a member is larger than it can be")
        if not self.has_keys and {ADMIN_KEY, PRIVACY_KEY}.intersection(names):
            raise ValueError("it has some of the private keys only")
        if self.contents.issuer != self.iss:
            raise ValueError("it is about the database of another instance")

    @property
    def has_keys(self) -> bool:
        """True when the private keys are in the backup."""
        return any(member.name.endswith(".pem") for member in self.members)

    @property
    def unpacked_bytes(self) -> int:
        """Size of all members together."""
        return sum(member.size for member in self.members)

    def keys_of(self, use: KeyUse) -> list[Ed25519PublicKey]:
        """Return the public keys of one use."""
        return [key.load() for key in self.public_keys if key.use == use]


class _AnyFormat(msgspec.Struct):
    format: int
    release: str = "?"


class SignedManifest(NamedTuple):
    """A manifest whose signature fits, the id of the key that signed, and the statement itself."""

    manifest: BackupManifest
    kid: str
    token: bytes


def write_manifest(manifest: BackupManifest, key: SigningKey) -> bytes:
    """Return the signed statement."""
    return sign("backup+jwt", msgspec.to_builtins(manifest), key).encode("ascii")


def read_manifest(token: bytes) -> SignedManifest:
    """Check the signature with the public key that the manifest itself names; raise `BackupError`."""
    try:
        header, claims = peek_unverified(token)  # it names the key that is to be checked
    except StatementError:
        raise BackupError("its manifest is not a signed statement") from None
    kid = str(header.get("kid"))
    version = claims.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise BackupError(
            f"it has format {version}, of release {str(claims.get('release', '?'))[:40]!a};"
            f" this release reads format {FORMAT}: restore it with that release"
        )
    try:
        key = _named(kid, claims)
        return SignedManifest(
            read_statement("backup+jwt", token, [key], BackupManifest, "the manifest"), kid, token
        )
    except StatementError as error:
        raise BackupError(str(error)) from None


def is_signed_by(signed: SignedManifest, keys: Sequence[Ed25519PublicKey]) -> bool:
    """Return True when one of these keys signed it."""
    try:
        read_statement("backup+jwt", signed.token, keys, _AnyFormat, "the manifest")
    except StatementError:
        return False
    return True


def _named(kid: str, claims: dict[str, Any]) -> Ed25519PublicKey:
    try:
        keys = msgspec.convert(claims.get("public_keys"), tuple[NamedPublicKey, ...])
    except msgspec.ValidationError as error:
        raise BackupError(f"its manifest is not understood: {error}") from None
    for key in keys:
        if key.kid == kid and key.use == "manifest":
            return key.load()
    raise BackupError("its manifest is not signed by a manifest key that it names")
