"""Token fingerprints and the cache of checked tokens: a known client's request costs two look-ups.

A fingerprint recognises, after a restart, a token that this instance signed, without verifying its signature again
(docs/decisions/0018). It is stored beside the key's record: the digest of the token and a MAC under a secret that is
not in the database. A writer of the database still cannot forge a key or raise its role.
"""

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

SIZE = 16
"""Bytes of a digest, and of a MAC."""
MAX_ENTRIES = 250_000
"""More than the fleet of one instance has: agents come round every five minutes in much the same order, so a cache a
little too small would find nothing at all. An entry takes about 0.9 kB."""
_PURPOSE = b"token mark"


class CachedToken(msgspec.Struct, gc=False):
    """The principal that a token stands for, and when it expires; revocation is checked on each use.

    A fleet has a hundred thousand of these, in no cycles: the garbage collector need not look at them.
    """

    principal: Principal
    expires_at: datetime | None


class TokenCache:
    """The most recently used tokens, by digest: the cache holds nothing that could be used as a key."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._entries: OrderedDict[bytes, CachedToken] = OrderedDict()

    def get(self, token: str) -> CachedToken | None:
        """Return what is known of the token (ASCII text)."""
        digest = token_digest(token)
        known = self._entries.get(digest)
        if known is not None:
            self._entries.move_to_end(digest)
        return known

    def put(self, digest: bytes, checked: CachedToken) -> None:
        """Remember a token by its digest; the least recently used one is dropped when there are too many."""
        self._entries[digest] = checked
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget all tokens."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


def token_digest(token: str) -> bytes:
    """Return the collision- and preimage-resistant digest of a token (ASCII text)."""
    return blake2b(token.encode(), digest_size=SIZE).digest()


def fingerprinter(key: SigningKey) -> Callable[[bytes, KeyRecord], bytes]:
    """Return the function that makes fingerprints of tokens signed by this key.

    It takes the token's digest and the record of the key that the token stands for.
    """
    private = key.private.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    secret = blake2b(private, digest_size=32, person=_PURPOSE).digest()

    def fingerprint(digest: bytes, record: KeyRecord) -> bytes:
        claims = msgspec.json.encode((record.id, record.role, record.subject, record.expires_at))
        return digest + blake2b(digest + claims, digest_size=SIZE, key=secret).digest()

    return fingerprint


def recognised(
    fingerprints: Iterable[tuple[bytes, KeyRecord]], keys: Iterable[SigningKey]
) -> Iterator[tuple[bytes, KeyRecord]]:
    """Yield digest and record of every fingerprint that verifies for its record under one of these keys."""
    makers = [fingerprinter(key) for key in keys]
    for fingerprint, record in fingerprints:
        digest = fingerprint[:SIZE]
        if any(hmac.compare_digest(fingerprint, make(digest, record)) for make in makers):
            yield digest, record
