"""Did the configuration of an upstream change since it was pulled last?"""

import hashlib

import msgspec

from app.federation.upstream import Upstream


def settings_digest(upstream: Upstream) -> str:
    """SHA-256 (hex) of the whole entry: whatever of it changes, the next pull starts from nothing."""
    return hashlib.sha256(msgspec.json.encode(upstream, order="deterministic")).hexdigest()
