"""The format of bundles: a whole set of rules, or what changed in it, in one signed file (decision 0013).

`manifest.jwt` comes first and is signed by the exporter's manifest key. It lists everything that follows by
SHA-256, in order: `publications/<serial>.jwt`, the exporter's own signed publication manifests, each of which names
the one before; then `texts/<digest>.yaml`, the rule texts. Nothing is believed before the signature fits.

The file is a gzip'd tar in the one spelling of `app.archives`: equal members give equal bytes.
"""

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Meta

from app.archives import ArchiveError, ArchiveForm, ArchiveReader, pack
from app.http.problem import quoted
from app.signing.jws import StatementError, peek_unverified, read_statement, sign
from app.signing.keys import SigningKey

FORMAT: Final = 1
MAX_BYTES = 64 * 1024 * 1024
"""Largest file; 785 published rules take 2.0 MB."""
MAX_UNPACKED_BYTES = 256 * 1024 * 1024
"""Largest content, headers included."""
MANIFEST = "manifest.jwt"
MAX_STATEMENT_BYTES = 16 * 1024 * 1024
"""Of the manifest and of each publication's; 785 rules take 0.3 MB and 0.1 MB."""
MAX_TEXT_BYTES = 4 * 65_536
"""The longest rule text that any instance holds: 65,536 characters."""

FORM = ArchiveForm("a bundle", tarfile.USTAR_FORMAT, 0o644, MAX_BYTES, MAX_UNPACKED_BYTES)

BundleErrorCode = Literal[
    "integrity", "key", "not-found", "shape", "signature", "too-large", "truncated", "unreadable"
]
RuleSource = Literal["atr", "atr-community"]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
RuleId = Annotated[str, Meta(min_length=1, max_length=128)]
Instant = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")]
Serial = Annotated[int, Meta(ge=1, le=1 << 53)]


class BundleError(Exception):
    """A bundle or a receipt is not accepted, or cannot be written; `code` is stable, the message one sentence."""

    def __init__(self, code: BundleErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: BundleErrorCode = code


@contextmanager
def bundle_errors() -> Iterator[None]:
    """Turn what archives and statements refuse into a `BundleError` with the same code and sentence."""
    try:
        yield
    except StatementError as error:
        raise BundleError(error.code, str(error)) from error
    except ArchiveError as error:
        code = error.code
        # The reader of bundles uses neither of the two: they are those of archives that others wrote.
        raise BundleError("unreadable" if code == "too-many" else code, str(error)) from error


class BundledRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule of the set: digest of its text, its `source` on the wire, and when this text was published."""

    digest: Digest
    source: RuleSource
    published_at: Instant


class BundleManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The signed statement about a bundle; see the module.

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


class _FormatOnly(msgspec.Struct):
    format: int


class PublicationClaims(msgspec.Struct, frozen=True):
    """The claims of a publication's manifest that are read here; a later version may add more."""

    iss: str
    serial: int
    published_at: str
    digest: str
    previous: str | None
    rules: dict[str, str]


def digest_of(content: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def write_bundle(
    manifest: BundleManifest, publications: Iterable[str], texts: Iterable[tuple[str, str]], key: SigningKey
) -> Iterator[bytes]:
    """Yield the file in pieces: publication manifests in order of `chain`, `(digest, text)` in order of `texts`.

    Equal arguments give equal bytes. Raise `BundleError` (`too-large`).
    """

    def members() -> Iterator[tuple[str, bytes]]:
        yield MANIFEST, sign("bundle+jwt", msgspec.to_builtins(manifest), key).encode("ascii")
        for serial, publication in enumerate(publications, manifest.first):
            yield _publication_name(serial), publication.encode("ascii")
        for digest, text in texts:
            yield _text_name(digest), text.encode()

    return pack_members(members())


def pack_members(members: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield the archive of these `(name, content)` in pieces; raise `BundleError` (`too-large`)."""
    with bundle_errors():
        yield from pack(FORM, ((name, len(content), [content]) for name, content in members))


def peek_manifest(chunks: Iterable[bytes]) -> dict[str, Any]:
    """Return the claims of a bundle's manifest unverified, to describe a file that our own instance just sent.

    Raise `BundleError`.
    """
    with bundle_errors():
        return peek_unverified(ArchiveReader(FORM, chunks).read(MANIFEST, MAX_STATEMENT_BYTES)).claims


class OpenBundle:
    """A bundle whose manifest and chain are read and found good; `texts` must be read to the end then.

    Raises `BundleError`: `signature`, `integrity`, `truncated`, `too-large`, or `shape` for what is no bundle.
    """

    def __init__(self, chunks: Iterable[bytes], keys: Sequence[Ed25519PublicKey]) -> None:
        self._archive = ArchiveReader(FORM, chunks)
        with bundle_errors():
            token = self._archive.read(MANIFEST, MAX_STATEMENT_BYTES)
            version = read_statement("bundle+jwt", token, keys, _FormatOnly, "The manifest").format
            if version != FORMAT:
                raise BundleError("shape", f"It has format {version}; this version reads format {FORMAT}.")
            self.manifest = read_statement("bundle+jwt", token, keys, BundleManifest, "The manifest")
            self.previous = self._follow_chain(keys)
        """Digest of the publication manifest that the chain continues; None before the first publication."""

    def manifest_at(self, serial: int) -> str | None:
        """Return the digest of the publication manifest with this serial: of the chain, or the one before it."""
        place = serial - self.manifest.first
        if place == -1:
            return self.previous
        return self.manifest.chain[place] if 0 <= place < len(self.manifest.chain) else None

    def texts(self) -> Iterator[tuple[str, bytes]]:
        """Yield every `(digest, text)`, each checked; the whole is good only when this has ended by itself."""
        with bundle_errors():
            for digest in self.manifest.texts:
                name = _text_name(digest)
                text = self._archive.read(name, MAX_TEXT_BYTES)
                if digest_of(text) != digest:
                    raise BundleError("integrity", f"{name} has another digest than the manifest says.")
                yield digest, text
            self._archive.finish()

    def _follow_chain(self, keys: Sequence[Ed25519PublicKey]) -> str | None:
        before: str | None = None
        previous: str | None = None
        for serial, digest in enumerate(self.manifest.chain, self.manifest.first):
            name = _publication_name(serial)
            token = self._archive.read(name, MAX_STATEMENT_BYTES)
            if digest_of(token) != digest:
                raise BundleError("integrity", f"{name} has another digest than the manifest says.")
            published = read_statement("publication+jwt", token, keys, PublicationClaims, name)
            if serial == self.manifest.first:
                before = published.previous
            elif published.previous != previous:
                raise BundleError("integrity", f"{name} does not continue the publication before it.")
            if (published.serial, published.iss) != (serial, self.manifest.iss):
                raise BundleError("integrity", f"{name} is the manifest of another publication.")
            previous = digest
        self._compare(published)
        if self.manifest.since and before is None:
            raise BundleError("integrity", "Its chain starts before the publication that it continues.")
        return before

    def _compare(self, last: PublicationClaims) -> None:
        """Raise `BundleError` unless the set is the one that was published: no further rule, no other text."""
        manifest = self.manifest
        if (manifest.digest, manifest.published_at) != (last.digest, last.published_at):
            raise BundleError(
                "integrity", "The manifest and the publication in it are not about the same set."
            )
        for rule_id, rule in manifest.rules.items():
            if last.rules.get(rule_id) != rule.digest:
                raise BundleError("integrity", f"{quoted(rule_id)} is not the rule that was published.")


def _publication_name(serial: int) -> str:
    return f"publications/{serial}.jwt"


def _text_name(digest: str) -> str:
    return f"texts/{digest}.yaml"
