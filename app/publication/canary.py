"""Who sees canary rules."""

import hashlib


def in_canary_slice(subject: str, percent: int) -> bool:
    """True for a stable `percent` of identities.

    Decided by the enrolled identity, never by a header: stock Guards from 1.7.0 send no client id on GETs, and
    a header is anybody's to choose.
    """
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:4], "big") % 100 < percent
