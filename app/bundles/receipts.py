"""Receipts: what an instance signs when it has taken in a bundle, to be carried back to whoever exported it."""

from collections.abc import Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.federation.sources.bundle import BundleFacts
from app.signing.jws import read_statement, sign
from app.signing.keys import SigningKey


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """`iss` took this bundle in at `iat` (seconds since 1970), with this result, and serves `publication` since."""

    iss: str
    iat: int
    upstream: str
    bundle: BundleFacts
    result: dict[str, Any]
    """As `bundle import` answers: outcome, added, changed, withdrawn, held, setAside."""
    publication: int | None
    """Serial of what it serves; None when it serves nothing yet."""


def write_receipt(receipt: Receipt, key: SigningKey) -> str:
    """The signed receipt (JWS, type `receipt+jwt`)."""
    return sign("receipt+jwt", msgspec.to_builtins(receipt), key)


def read_receipt(token: bytes, keys: Sequence[Ed25519PublicKey]) -> Receipt:
    """Check a receipt against the keys of the instance that took the bundle in; raises `SourceError`."""
    return read_statement("receipt+jwt", token.strip(), keys, Receipt, "the receipt")
