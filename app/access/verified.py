"""Tokens that need no more checking of their signature, so that a known client's request costs two look-ups."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime

import msgspec

from app.access.marks import digest_of
from app.access.principal import Principal


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
