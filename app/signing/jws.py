"""Signed statements between instances: JWS in compact form (RFC 7515), Ed25519 (RFC 8037), each of one type.

The type stands in the signed header, so that a statement of one kind is never taken for another. The header has
`alg`, `kid` and `typ` and nothing else, so that no parameter can change how the signature is read.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from app.federation.sources.collected import SourceError
from app.http.problem import quoted
from app.signing.keys import SigningKey

Kind = Literal["backup+jwt", "bundle+jwt", "publication+jwt", "receipt+jwt"]
ALGORITHM = "EdDSA"
MAX_KEYS = 16
MAX_PEM_BYTES = 64 * 1024
T = TypeVar("T")

_HEADER = {"alg", "kid", "typ"}
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----.*?-----END \1-----", re.DOTALL)
_jws = jwt.PyJWS(algorithms=[ALGORITHM])


def sign(kind: Kind, claims: Mapping[str, Any], key: SigningKey) -> str:
    """The statement with these claims; equal claims and key give equal bytes."""
    return jwt.encode(dict(claims), key.private, algorithm=ALGORITHM, headers={"kid": key.kid, "typ": kind})


def read_keys(pem: bytes) -> tuple[Ed25519PublicKey, ...]:
    """The Ed25519 public keys in a PEM file, one or, while a key rotates, several.

    Raises `SourceError` (`key`) for anything else, a private key included.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise SourceError("key", f"The file with the keys is larger than {MAX_PEM_BYTES} bytes.")
    blocks = [match.group() for match in _PEM.finditer(pem)]
    if not 0 < len(blocks) <= MAX_KEYS:
        raise SourceError(
            "key", f"The file with the keys holds {len(blocks)} PEM keys; 1 to {MAX_KEYS} are needed."
        )
    return tuple(map(_read_key, blocks))


def _read_key(block: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SourceError(
            "key", "The file with the keys holds something else than Ed25519 public keys (BEGIN PUBLIC KEY)."
        )
    return key


def read_statement(
    kind: Kind, token: bytes, keys: Sequence[Ed25519PublicKey], shape: type[T], what: str
) -> T:
    """The claims of a statement that one of `keys` signed; `what` names it in refusals.

    Nothing of it is believed before the signature fits. Raises `SourceError`: `signature`, or `shape` when what
    was signed is not what this version writes.
    """
    header = _header(token, what)
    if header["alg"] != ALGORITHM or header["typ"] != kind:
        raise SourceError("signature", f"{what} is not a statement of type {kind} signed with {ALGORITHM}.")
    for key in keys:
        try:
            payload = _jws.decode(token, key, algorithms=[ALGORITHM])
        except jwt.PyJWTError:
            continue
        try:
            return msgspec.json.decode(payload, type=shape)
        except msgspec.MsgspecError as error:
            raise SourceError("shape", f"{what} is signed, but not understood: {error}.") from error
    named = quoted(str(header["kid"]))
    raise SourceError("signature", f"{what} is not signed by any of the given keys (it names {named}).")


def _header(token: bytes, what: str) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise SourceError("signature", f"{what} is not a signed statement.") from None
    if header.keys() != _HEADER:
        raise SourceError(
            "signature", f"{what} has a header with more or less than {', '.join(sorted(_HEADER))}."
        )
    return header
