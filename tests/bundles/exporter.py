"""An exporter without an instance: it publishes sets of rules and bundles them, genuine or forged."""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.bundles.format import BundledRule, BundleManifest, RuleSource, pack_members, write_bundle
from app.signing.jws import sign
from app.signing.keys import SigningKey

EXPORTED_AT = "2026-11-20T10:00:00.000Z"


def sha256(content: str | bytes) -> str:
    """In hex."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def new_key() -> SigningKey:
    """A manifest key that nobody has."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return SigningKey("manifest", f"manifest-{raw.hex()[:16]}", datetime.now(UTC), private, public)


def pem_of(*keys: SigningKey) -> bytes:
    """What `key_file` holds."""
    return b"".join(key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in keys)


class Exporter:
    """Publications as `Publisher` signs them, and the bundles that an instance with these would export."""

    def __init__(self, key: SigningKey | None = None, iss: str = "threatcloud:exporter") -> None:
        self.key = key or new_key()
        self.iss = iss
        self.sets: list[dict[str, str]] = []
        self.manifests: list[str] = []
        self.claims: list[dict[str, Any]] = []

    @property
    def serial(self) -> int:
        """Of the newest publication."""
        return len(self.sets)

    def publish(self, *texts: str, named: Mapping[str, str] | None = None, **claims: Any) -> int:
        """Publish these texts as the rules ATR-2026-1, -2, ...; `claims` replace what the manifest would say."""
        rules = dict(named or {f"ATR-2026-{number}": text for number, text in enumerate(texts, 1)})
        serial = self.serial + 1
        said = {
            "iss": self.iss,
            "serial": serial,
            "published_at": f"2026-11-{serial:02d}T00:00:00.000Z",
            "digest": sha256("".join(f"{name}\t{sha256(text)}\n" for name, text in sorted(rules.items()))),
            "previous": sha256(self.manifests[-1]) if self.manifests else None,
            "rule_key": "rule-0123456789abcdef",
            "rules": {name: sha256(text) for name, text in rules.items()},
        } | claims
        self.sets.append(rules)
        self.claims.append(said)
        self.manifests.append(sign("publication+jwt", said, self.key))
        return serial

    def manifest(self, since: int = 0) -> BundleManifest:
        """What a bundle of the newest publication says of itself."""
        rules, claims = self.sets[-1], self.claims[-1]
        known = set(map(sha256, self.sets[since - 1].values())) if since else set()
        source: RuleSource = "atr"
        return BundleManifest(
            iss=self.iss,
            exported_at=EXPORTED_AT,
            since=since,
            serial=self.serial,
            published_at=claims["published_at"],
            digest=claims["digest"],
            rules={
                name: BundledRule(sha256(text), source, claims["published_at"])
                for name, text in rules.items()
            },
            texts=tuple(sorted(set(map(sha256, rules.values())) - known)),
            chain=tuple(map(sha256, self._chain(since))),
        )

    def bundle(self, since: int = 0) -> bytes:
        """A genuine bundle."""
        manifest = self.manifest(since)
        texts = {sha256(text): text for text in self.sets[-1].values()}
        listed = ((digest, texts[digest]) for digest in manifest.texts)
        return b"".join(write_bundle(manifest, self._chain(since), listed, self.key))

    def claiming(self, since: int = 0, /, **claims: Any) -> bytes:
        """A bundle whose manifest, correctly signed, says something else; its members stay as they are."""
        said = msgspec.to_builtins(self.manifest(since)) | claims
        return with_manifest(self.bundle(since), sign("bundle+jwt", said, self.key))

    def _chain(self, since: int) -> list[str]:
        return self.manifests[since or self.serial - 1 :]


def members_of(bundle: bytes) -> list[tuple[str, bytes]]:
    """What is in it, read by the standard library."""
    with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:gz") as archive:
        return [(info.name, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]


def repacked(members: list[tuple[str, bytes]]) -> bytes:
    """A well-formed archive of these members."""
    return b"".join(pack_members(members))


def with_manifest(bundle: bytes, token: str) -> bytes:
    """The same bundle with another manifest in it."""
    return repacked([("manifest.jwt", token.encode()), *members_of(bundle)[1:]])
