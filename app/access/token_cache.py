"""Tokens that need no more checking of their signature, so that a known client's request costs two look-ups.

Marks: by what the instance knows a token again that it signed, without checking the signature (decision 0018).

A mark is kept beside the key's record: the digest of the token, and a seal under a secret that is not in the
database. So whoever can write to the database can no more make a key, or raise one, than without marks.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from hashlib import blake2b

import msgspec
from cryptography.hazmat.primitives import serialization

from app.access.key_store import KeyRecord
from app.access.principal import Principal
from app.signing.keys import SigningKey


class Verified(msgspec.Struct, gc=False):
    """Whom a token stands for, and until when; whether it was revoked since is asked on each use.

    A fleet has a hundred thousand of these, in no cycles: the garbage collector need not look at them.
    """

    principal: Principal
    expires_at: datetime | None


MAX_ENTRIES = 250_000
"""More than one instance's fleet has: agents come round every five minutes in much the same order, so that a cache a
little too small would find nothing at all. An entry takes about 0.9 kB."""


class VerifiedTokens:
    """The tokens seen last, by digest: the cache holds nothing that could be used as a key."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._entries: OrderedDict[bytes, Verified] = OrderedDict()

    def get(self, token: str) -> Verified | None:
        """What is known of the token (ASCII text)."""
        digest = digest_of(token)
        known = self._entries.get(digest)
        if known is not None:
            self._entries.move_to_end(digest)
        return known

    def put(self, digest: bytes, verified: Verified) -> None:
        """Remember a token by its digest, forgetting the one unused for longest when there are too many."""
        self._entries[digest] = verified
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


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
