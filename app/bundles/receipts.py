"""Receipts: an importer signs that it has taken in a bundle, for the instance that exported it."""

from typing import Any

import msgspec

from app.bundles.files import BundleFacts
from app.bundles.format import bundle_errors
from app.signing.jws import read_keys, read_statement, sign
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
    """Return the signed receipt (JWS, type `receipt+jwt`)."""
    return sign("receipt+jwt", msgspec.to_builtins(receipt), key)


def read_receipt(token: bytes, pem: bytes) -> Receipt:
    """Check a receipt against the keys in the importer's PEM file; raise `BundleError`."""
    with bundle_errors():
        return read_statement("receipt+jwt", token.strip(), read_keys(pem), Receipt, "the receipt")
