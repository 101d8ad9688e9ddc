"""Encryption with age (X25519): making a backup needs the public keys only.

The identities, which decrypt, stay with the admins. Each backup is also encrypted for an identity that is made for
that run and thrown away after it, so that the file can be read again and checked as it lies on the disk.
"""

from collections.abc import Iterable, Sequence
from typing import BinaryIO, TypeAlias

import pyrage
from pyrage import x25519

from app.backup.errors import BackupError

Identity: TypeAlias = x25519.Identity
Recipient: TypeAlias = x25519.Recipient
_PREFIX = "AGE-SECRET-KEY-"


def read_recipients(texts: Iterable[str]) -> list[Recipient]:
    """Parse public keys; raise `ValueError`."""
    return [_recipient(text) for text in texts]


def _recipient(text: str) -> Recipient:
    try:
        return x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        said = "it is a private key" if text.upper().startswith(_PREFIX) else ascii(text[:70])
        raise ValueError(f"recipients: not the public key of an age identity (age1...): {said}") from None


def new_identity() -> Identity:
    """Make a key pair."""
    return x25519.Identity.generate()


def read_identities(text: str) -> list[Identity]:
    """Parse the identities of a file as `keygen` or `age-keygen` writes it; raise `BackupError`."""
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    try:
        found = [x25519.Identity.from_str(line) for line in lines]
    except pyrage.IdentityError:
        raise BackupError("the identity file holds something else than age identities") from None
    if not found:
        raise BackupError("the identity file holds no age identity (AGE-SECRET-KEY-1...)")
    return found


def encrypt(pieces: Iterable[bytes], target: BinaryIO, recipients: Sequence[Recipient]) -> None:
    """Write the pieces, none of them empty, to `target`, encrypted.

    Raise `OSError`, or what making a piece raises.
    """
    ends = _Ends(pieces, target)
    try:
        pyrage.encrypt_io(ends, ends, list(recipients))
    except (pyrage.EncryptError, OSError) as error:
        raise ends.error or error from None


def decrypt(source: Iterable[bytes], target: BinaryIO, identities: Sequence[Identity]) -> None:
    """Decrypt the pieces of `source` into `target`; raise `BackupError`, `OSError`, or what a piece raises."""
    ends = _Ends(source, target)
    try:
        pyrage.decrypt_io(ends, ends, list(identities))
    except (pyrage.DecryptError, OSError) as error:
        if ends.error is not None:
            raise ends.error from None
        if "No matching keys" in str(error):
            raise BackupError("it is encrypted for other identities than the given one") from None
        raise BackupError("it is damaged, or not encrypted with age: it was cut off or altered") from None


class _Ends:
    """The object that pyrage reads from and writes to. pyrage keeps only the text of an exception; `error` is the
    exception itself."""

    def __init__(self, pieces: Iterable[bytes], target: BinaryIO) -> None:
        self._pieces = iter(pieces)
        self._target = target
        self._ready = b""
        self.error: Exception | None = None

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; none at the end."""
        try:
            self._ready = self._ready or next(self._pieces, b"")
        except Exception as error:
            self.error = error
            raise
        taken, self._ready = self._ready[:size], self._ready[size:]
        return taken

    def write(self, data: bytes) -> int:
        """Write all of it."""
        try:
            return self._target.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Do nothing: the opener of the target flushes it."""
