"""Signed statements: JWS in compact form (RFC 7515) with Ed25519 (RFC 8037), each statement of one type.

The type stands in the signed header, so that a statement of one type is never taken for another. The header has
`alg`, `kid` and `typ` and nothing else, so that no parameter can change how the signature is read.

Everything that this instance signs goes through `sign`, except access tokens, which have claims and rules of their
own (`app.access.tokens`). `read_statement` believes nothing before the signature fits; `peek_unverified` is for the
few places where that is not needed, or not possible yet.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from app.http.problem import quoted
from app.signing.keys import SigningKey

StatementType = Literal["backup+jwt", "bundle+jwt", "freshness+jwt", "publication+jwt", "receipt+jwt"]
StatementErrorCode = Literal["key", "signature", "shape"]
ALGORITHM = "EdDSA"
MAX_KEYS = 16
MAX_PEM_BYTES = 64 * 1024
T = TypeVar("T")

_HEADER = {"alg", "kid", "typ"}
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----.*?-----END \1-----", re.DOTALL)
_jws = jwt.PyJWS(algorithms=[ALGORITHM])


class StatementError(Exception):
    """A statement, or the file with the keys to check it, is not accepted; the message is one sentence.

    Codes: `key` (the file with the keys), `signature`, `shape` (signed, but not what this version writes).
    """

    def __init__(self, code: StatementErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: StatementErrorCode = code


class UnverifiedStatement(NamedTuple):
    """Header and claims of a statement whose signature nobody has checked."""

    header: dict[str, Any]
    claims: dict[str, Any]


def sign(kind: StatementType, claims: Mapping[str, Any], key: SigningKey) -> str:
    """Return the statement with these claims; equal claims and key give equal bytes."""
    return jwt.encode(dict(claims), key.private, algorithm=ALGORITHM, headers={"kid": key.kid, "typ": kind})


def peek_unverified(token: str | bytes) -> UnverifiedStatement:
    """Return what a statement says WITHOUT checking its signature.

    Only for a statement of our own database, for one whose signature is checked elsewhere, or to learn which key to
    check it with. Raise `StatementError` (`signature`) when it is no statement.
    """
    try:
        header = jwt.get_unverified_header(token)
        return UnverifiedStatement(header, jwt.decode(token, options={"verify_signature": False}))
    except jwt.PyJWTError:
        raise StatementError("signature", "It is not a signed statement.") from None


def read_keys(pem: bytes) -> tuple[Ed25519PublicKey, ...]:
    """Return the Ed25519 public keys in a PEM file: one or, while a key rotates, several.

    Raise `StatementError` (`key`) for anything else, a private key included.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise StatementError("key", f"The file with the keys is larger than {MAX_PEM_BYTES} bytes.")
    blocks = [match.group() for match in _PEM.finditer(pem)]
    if not 0 < len(blocks) <= MAX_KEYS:
        raise StatementError(
            "key", f"The file with the keys holds {len(blocks)} PEM keys; 1 to {MAX_KEYS} are needed."
        )
    return tuple(map(_read_key, blocks))


def _read_key(block: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise StatementError(
            "key", "The file with the keys holds something else than Ed25519 public keys (BEGIN PUBLIC KEY)."
        )
    return key


def read_statement(
    kind: StatementType, token: bytes, keys: Sequence[Ed25519PublicKey], shape: type[T], what: str
) -> T:
    """Return the claims of a statement that one of `keys` signed; `what` names it in refusals.

    Raise `StatementError`: `signature`, or `shape` when what was signed is not what this version writes.
    """
    header = _header(token, what)
    if header["alg"] != ALGORITHM or header["typ"] != kind:
        raise StatementError(
            "signature", f"{what} is not a statement of type {kind} signed with {ALGORITHM}."
        )
    for key in keys:
        try:
            payload = _jws.decode(token, key, algorithms=[ALGORITHM])
        except jwt.PyJWTError:
            continue
        try:
            return msgspec.json.decode(payload, type=shape)
        except msgspec.MsgspecError as error:
            raise StatementError("shape", f"{what} is signed, but not understood: {error}.") from error
    named = quoted(str(header["kid"]))
    raise StatementError("signature", f"{what} is not signed by any of the given keys (it names {named}).")


def _header(token: bytes, what: str) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise StatementError("signature", f"{what} is not a signed statement.") from None
    if header.keys() != _HEADER:
        raise StatementError(
            "signature", f"{what} has a header with more or less than {', '.join(sorted(_HEADER))}."
        )
    return header
