"""The audit log's hash chain: each hash covers the one before it, so that edits of the history are detected.

The chain alone does not show that entries at its end were cut off: keep the reported head somewhere else for that.
"""

import hashlib
from collections.abc import Iterable

import msgspec

GENESIS = "0" * 64
_encoder = msgspec.json.Encoder(order="sorted")


class HashedEntry(msgspec.Struct, frozen=True):
    """One audit entry as it is hashed; `detail` is JSON text, hashed as it is stored."""

    id: int
    at: str
    actor: str
    action: str
    target: str | None
    detail: str
    address: str | None


class ChainLink(msgspec.Struct, frozen=True):
    """An entry with the hash of the one before it and its own."""

    entry: HashedEntry
    previous: str
    hash: str


class ChainReport(msgspec.Struct, frozen=True):
    """The number of valid `entries` from the first on, the `head` after them, and where the chain breaks and why."""

    entries: int
    head: str
    broken_at: int | None = None
    why: str | None = None


def hash_of(previous: str, entry: HashedEntry) -> str:
    """Return the SHA-256, in hex, of `previous` (64 hex digits) and the entry's canonical JSON.

    Canonical JSON is UTF-8 with sorted keys and without white space.
    """
    return hashlib.sha256(previous.encode("ascii") + _encoder.encode(entry)).hexdigest()


def follow(links: Iterable[ChainLink]) -> ChainReport:
    """Check a whole chain in the order of its ids, from 1 on; stop at the first entry that is wrong."""
    count, head = 0, GENESIS
    for link in links:
        why = _fault(link, count + 1, head)
        if why is not None:
            return ChainReport(count, head, link.entry.id, why)
        count, head = count + 1, link.hash
    return ChainReport(count, head)


def _fault(link: ChainLink, expected_id: int, head: str) -> str | None:
    if link.entry.id != expected_id:
        return f"entry {expected_id} is missing before it"
    if link.previous != head:
        return "it does not continue the entry before it: one of the two was replaced"
    if hash_of(head, link.entry) != link.hash:
        return "it was changed after it was written"
    return None
