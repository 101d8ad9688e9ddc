"""Marks: by what the instance knows a token again that it signed, without checking the signature (decision 0018).

A mark is kept beside the key's record: the digest of the token, and a seal under a secret that is not in the
database. So whoever can write to the database can no more make a key, or raise one, than without marks.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b

import msgspec
from cryptography.hazmat.primitives import serialization

from app.access.keys import KeyRecord
from app.signing.keys import SigningKey

SIZE = 16
"""Bytes of a digest, and of a seal."""
_PURPOSE = b"token mark"


def digest_of(token: str) -> bytes:
    """What stands for a token (ASCII text): nobody finds another text that has it, nor the token again."""
    return blake2b(token.encode(), digest_size=SIZE).digest()


def marker(key: SigningKey) -> Callable[[bytes, KeyRecord], bytes]:
    """What makes the mark of a token that this key signed, of its digest and the record that it stands for."""
    private = key.private.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    secret = blake2b(private, digest_size=32, person=_PURPOSE).digest()

    def mark(digest: bytes, record: KeyRecord) -> bytes:
        said = msgspec.json.encode((record.id, record.role, record.subject, record.expires_at))
        return digest + blake2b(digest + said, digest_size=SIZE, key=secret).digest()

    return mark


def known_again(
    marked: Iterable[tuple[bytes, KeyRecord]], keys: Iterable[SigningKey]
) -> Iterator[tuple[bytes, KeyRecord]]:
    """The digest and record of each mark that one of these keys made of just this record; others are passed over."""
    markers = [marker(key) for key in keys]
    for mark, record in marked:
        digest = mark[:SIZE]
        if any(hmac.compare_digest(mark, make(digest, record)) for make in markers):
            yield digest, record
