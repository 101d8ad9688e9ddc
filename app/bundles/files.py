"""Bundle files on disk: opened without risk, described, and checked whole without an instance."""

import hashlib
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from app.bundles.format import MAX_BYTES, BundleError, BundleManifest, OpenBundle, bundle_errors
from app.signing.jws import read_keys

_CHUNK = 256 * 1024


class BundleFacts(msgspec.Struct, frozen=True, rename="camel"):
    """Facts about a bundle file that a receipt repeats: `digest` is the SHA-256 (hex) of its bytes."""

    digest: str
    serial: int
    since: int
    iss: str
    exported_at: str


def open_file(path: str) -> BinaryIO:
    """Open a plain file, never waiting for a pipe or a device; raise `BundleError` (`not-found`, `unreadable`)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BundleError("not-found", "There is no bundle at the configured path.") from None
    except OSError as error:
        raise BundleError("unreadable", f"The bundle cannot be read: {error.strerror}.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleError("unreadable", "The bundle is not a plain file.")
    return os.fdopen(descriptor, "rb")


def chunks_of(file: BinaryIO, whole: "hashlib._Hash") -> Iterator[bytes]:
    """Yield the file in pieces and add each to `whole`; raise `BundleError` (`too-large`)."""
    size = 0
    while chunk := file.read(_CHUNK):
        size += len(chunk)
        if size > MAX_BYTES:
            raise BundleError("too-large", f"The file is larger than {MAX_BYTES} bytes.")
        whole.update(chunk)
        yield chunk


def facts_of(manifest: BundleManifest, whole: "hashlib._Hash") -> BundleFacts:
    """Return the facts about a file that was read to its end, `whole` being the hash of its bytes."""
    return BundleFacts(whole.hexdigest(), manifest.serial, manifest.since, manifest.iss, manifest.exported_at)


def check_bundle(path: str, pem: bytes) -> tuple[BundleFacts, BundleManifest]:
    """Read the file at `path` whole against the keys in `pem`, and keep nothing; raise `BundleError`."""
    whole = hashlib.sha256()
    with bundle_errors(), open_file(path) as file:
        bundle = OpenBundle(chunks_of(file, whole), read_keys(pem))
        for _ in bundle.texts():
            pass
    return facts_of(bundle.manifest, whole), bundle.manifest
