"""Bundles: a whole set of rules, or what changed in it, in one signed file (decision 0013).

`manifest.jwt` comes first and is signed by the exporter's manifest key. It lists everything that follows by
SHA-256, in order: `publications/<serial>.jwt`, the exporter's own signed publication manifests, of which each names
the one before; then `texts/<digest>.yaml`, the rule texts. Nothing is believed before the signature fits.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Meta

from app.bundles.archive import Unpacker, pack
from app.federation.sources.collected import Source, SourceError
from app.http.problem import quoted
from app.signing.jws import read_statement, sign
from app.signing.keys import SigningKey

FORMAT: Final = 1
MANIFEST = "manifest.jwt"
MAX_STATEMENT_BYTES = 16 * 1024 * 1024
"""Of the manifest and of each publication's; 785 rules take 0.3 MB and 0.1 MB."""
MAX_TEXT_BYTES = 4 * 65_536
"""The longest rule text that any instance holds: 65,536 characters."""

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
RuleId = Annotated[str, Meta(min_length=1, max_length=128)]
Instant = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")]
Serial = Annotated[int, Meta(ge=1, le=1 << 53)]


class BundledRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule of the set: its text by digest, what the wire calls its source, and since when it is as it is."""

    digest: Digest
    source: Source
    published_at: Instant


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle says of itself; see the module.

    `since` is 0 in a full bundle: `texts` then has every text of the set, `chain` the last publication alone. In a
    delta, `texts` lacks what the set of publication `since` had, and `chain` has every publication after it.
    """

    iss: Annotated[str, Meta(min_length=1, max_length=256)]
    format: Literal[1] = FORMAT
    exported_at: Instant
    since: Annotated[int, Meta(ge=0, le=1 << 53)]
    serial: Serial
    published_at: Instant
    digest: Digest
    rules: dict[RuleId, BundledRule]
    texts: tuple[Digest, ...]
    chain: Annotated[tuple[Digest, ...], Meta(min_length=1)]

    @property
    def first(self) -> int:
        """The serial of the first publication in `chain`."""
        return self.serial - len(self.chain) + 1

    def __post_init__(self) -> None:
        held = {rule.digest for rule in self.rules.values()}
        missing = held.difference(self.texts)
        if len(self.chain) != (self.serial - self.since if self.since else 1):
            raise ValueError("its chain has another length than its serials say")
        if list(self.texts) != sorted(set(self.texts)) or not held.issuperset(self.texts):
            raise ValueError("its list of texts is not the sorted list of texts of its rules")
        if missing and not self.since:
            raise ValueError("it lacks texts, as only a delta may")


class _AnyFormat(msgspec.Struct):
    format: int


class Published(msgspec.Struct, frozen=True):
    """What is read of a publication's manifest; an instance of a later version may say more."""

    iss: str
    serial: int
    published_at: str
    digest: str
    previous: str | None
    rules: dict[str, str]


def digest_of(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def write_bundle(
    manifest: Manifest, publications: Iterable[str], texts: Iterable[tuple[str, str]], key: SigningKey
) -> Iterator[bytes]:
    """The file, piece by piece: publication manifests in order of `chain`, `(digest, text)` in order of `texts`.

    Equal arguments give equal bytes. Raises `SourceError` (`too-large`).
    """

    def members() -> Iterator[tuple[str, bytes]]:
        yield MANIFEST, sign("bundle+jwt", msgspec.to_builtins(manifest), key).encode("ascii")
        for serial, publication in enumerate(publications, manifest.first):
            yield _publication_name(serial), publication.encode("ascii")
        for digest, text in texts:
            yield _text_name(digest), text.encode()

    return pack(members())


class OpenBundle:
    """A bundle whose manifest and chain are read and found good; `texts` has to be read to the end then.

    Raises `SourceError`: `signature`, `integrity`, `truncated`, `too-large`, or `shape`, for what is no bundle.
    """

    def __init__(self, chunks: Iterable[bytes], keys: Sequence[Ed25519PublicKey]) -> None:
        self._archive = Unpacker(chunks)
        token = self._archive.member(MANIFEST, MAX_STATEMENT_BYTES)
        version = read_statement("bundle+jwt", token, keys, _AnyFormat, "The manifest").format
        if version != FORMAT:
            raise SourceError("shape", f"It has format {version}; this version reads format {FORMAT}.")
        self.manifest = read_statement("bundle+jwt", token, keys, Manifest, "The manifest")
        self.previous = self._follow_chain(keys)
        """Digest of the publication manifest that the chain continues; None before the first publication."""

    def manifest_at(self, serial: int) -> str | None:
        """Digest of the publication manifest with this serial, for all of the chain and the one before it."""
        place = serial - self.manifest.first
        if place == -1:
            return self.previous
        return self.manifest.chain[place] if 0 <= place < len(self.manifest.chain) else None

    def texts(self) -> Iterator[tuple[str, bytes]]:
        """Every `(digest, text)`, each checked; the whole is good only when this has ended by itself."""
        for digest in self.manifest.texts:
            name = _text_name(digest)
            text = self._archive.member(name, MAX_TEXT_BYTES)
            if digest_of(text) != digest:
                raise SourceError("integrity", f"{name} has another digest than the manifest says.")
            yield digest, text
        self._archive.finish()

    def _follow_chain(self, keys: Sequence[Ed25519PublicKey]) -> str | None:
        before: str | None = None
        previous: str | None = None
        for serial, digest in enumerate(self.manifest.chain, self.manifest.first):
            name = _publication_name(serial)
            token = self._archive.member(name, MAX_STATEMENT_BYTES)
            if digest_of(token) != digest:
                raise SourceError("integrity", f"{name} has another digest than the manifest says.")
            published = read_statement("publication+jwt", token, keys, Published, name)
            if serial == self.manifest.first:
                before = published.previous
            elif published.previous != previous:
                raise SourceError("integrity", f"{name} does not continue the publication before it.")
            if (published.serial, published.iss) != (serial, self.manifest.iss):
                raise SourceError("integrity", f"{name} is the manifest of another publication.")
            previous = digest
        self._compare(published)
        if self.manifest.since and before is None:
            raise SourceError("integrity", "Its chain starts before the publication that it continues.")
        return before

    def _compare(self, last: Published) -> None:
        """The set must be the one that was published: no rule more, no other text."""
        manifest = self.manifest
        if (manifest.digest, manifest.published_at) != (last.digest, last.published_at):
            raise SourceError(
                "integrity", "The manifest and the publication in it are not about the same set."
            )
        for rule_id, rule in manifest.rules.items():
            if last.rules.get(rule_id) != rule.digest:
                raise SourceError("integrity", f"{quoted(rule_id)} is not the rule that was published.")


def _publication_name(serial: int) -> str:
    return f"publications/{serial}.jwt"


def _text_name(digest: str) -> str:
    return f"texts/{digest}.yaml"
