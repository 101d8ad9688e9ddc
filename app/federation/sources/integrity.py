"""Subresource integrity as npm writes it: `sha512-<base64>`, several ones separated by spaces."""

import base64
import hashlib
import hmac

from app.federation.sources.collected import SourceError

_ALGORITHMS = ("sha512", "sha384", "sha256")


def check_integrity(content: bytes, announced: str) -> None:
    """Compare with the strongest digests announced (one of several equally strong ones must fit).

    SHA-1 and MD5 prove nothing any more. Raises `SourceError` integrity.
    """
    digests = [token.partition("?")[0].partition("-") for token in announced.split()]
    for algorithm in _ALGORITHMS:
        wanted = [digest for name, _, digest in digests if name == algorithm]
        if wanted:
            actual = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
            if any(hmac.compare_digest(actual.encode(), digest.encode()) for digest in wanted):
                return
            raise SourceError(
                "integrity", f"The package is not the one that the registry announces ({algorithm})."
            )
    raise SourceError(
        "integrity", "The registry announces no SHA-2 digest of the package, so it cannot be checked."
    )
