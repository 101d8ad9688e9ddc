"""The audit log's hash chain: each hash covers the one before it, so history cannot be edited quietly.

What the chain alone cannot show is a tail cut off clean: keep the reported head somewhere else for that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

GENESIS = "0" * 64
_encoder = msgspec.json.Encoder(order="sorted")


class Entry(msgspec.Struct, frozen=True):
    """One audit entry as it is hashed; `detail` is JSON text, hashed as it is stored."""

    id: int
    at: str
    actor: str
    action: str
    target: str | None
    detail: str
    address: str | None


class Link(msgspec.Struct, frozen=True):
    """An entry with the hash of the one before it and its own."""

    entry: Entry
    previous: str
    hash: str


class ChainReport(msgspec.Struct, frozen=True):
    """`entries` that hold from the first on, the `head` after them, and where the chain breaks and why."""

    entries: int
    head: str
    broken_at: int | None = None
    why: str | None = None


def hash_of(previous: str, entry: Entry) -> str:
    """SHA-256, in hex, of `previous` (64 hex digits) and the entry's canonical JSON: UTF-8, keys sorted, no
    white space.
    """
    return hashlib.sha256(previous.encode("ascii") + _encoder.encode(entry)).hexdigest()


def follow(links: Iterable[Link]) -> ChainReport:
    """Check a whole chain in the order of its ids, from 1 on; stops at the first entry that is wrong."""
    count, head = 0, GENESIS
    for link in links:
        why = _fault(link, count + 1, head)
        if why is not None:
            return ChainReport(count, head, link.entry.id, why)
        count, head = count + 1, link.hash
    return ChainReport(count, head)


def _fault(link: Link, expected_id: int, head: str) -> str | None:
    if link.entry.id != expected_id:
        return f"entry {expected_id} is missing before it"
    if link.previous != head:
        return "it does not continue the entry before it: one of the two was replaced"
    if hash_of(head, link.entry) != link.hash:
        return "it was changed after it was written"
    return None
