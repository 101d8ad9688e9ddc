"""Keys as clients hold them: JWTs (RFC 7519) signed with Ed25519 (RFC 8037), checked strictly (RFC 8725).

A token proves which key record it stands for and nothing more: whether that record is still valid is in the store.
No function here logs or repeats a token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.access.principal import Role

ALGORITHM = "EdDSA"
AUDIENCE = "threatcloud"
TYPE = "threatcloud-key+jwt"
"""An explicit type of our own (RFC 8725 3.11): `at+jwt` promises claims of RFC 9068 that we do not use."""

MAX_LENGTH = 2048
REQUIRED = ["aud", "iat", "iss", "jti", "role", "sub"]
HEADER_FIELDS = frozenset({"alg", "kid", "typ"})
"""Exactly these: `crit`, `jku`, `jwk`, `x5u`, `b64` and any other field are refused unread."""


class BadToken(Exception):
    """A token that is refused.

    `reason` may be shown to the client; the message says more, without any part of the token.
    """

    def __init__(self, reason: Literal["malformed", "expired"], why: str) -> None:
        super().__init__(why)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says; `signed_by` is the id of the signing key, `expires_at` None for no end."""

    key_id: str
    role: Role
    subject: str
    issued_at: datetime
    expires_at: datetime | None
    signed_by: str


class _Payload(msgspec.Struct, forbid_unknown_fields=True):
    aud: str
    iat: int
    iss: str
    jti: str
    role: Role
    sub: str
    exp: int | None = None


def encode_token(
    *,
    key_id: str,
    role: Role,
    subject: str,
    issued_at: datetime,
    expires_at: datetime | None,
    issuer: str,
    private_key: Ed25519PrivateKey,
    kid: str,
) -> str:
    """Sign a token; instants are cut to whole seconds (RFC 7519 NumericDate)."""
    payload: dict[str, str | int] = {
        "aud": AUDIENCE,
        "iat": int(issued_at.timestamp()),
        "iss": issuer,
        "jti": key_id,
        "role": role.value,
        "sub": subject,
    }
    if expires_at is not None:
        payload["exp"] = int(expires_at.timestamp())
    return jwt.encode(payload, private_key, algorithm=ALGORITHM, headers={"kid": kid, "typ": TYPE})


def decode_token(
    token: str, keys: Callable[[str], Ed25519PublicKey | None], issuer: str, now: datetime
) -> Claims:
    """Check a token and return its claims.

    The signing key is looked up by its id first; then the token is verified with that one key and that one
    algorithm, so a header cannot choose either. `exp` may be absent; where present it holds without leeway.
    Raises `BadToken`.
    """
    if len(token) > MAX_LENGTH or not token.isascii():
        raise BadToken("malformed", f"longer than {MAX_LENGTH} characters or not ASCII")
    try:
        header = jwt.get_unverified_header(token)
        if header.keys() != HEADER_FIELDS or header["typ"] != TYPE or header["alg"] != ALGORITHM:
            raise BadToken("malformed", f"the header is not exactly alg {ALGORITHM}, typ {TYPE} and kid")
        kid = header["kid"]
        key = keys(kid)
        if key is None:
            raise BadToken("malformed", "signed with a key that is not, or no longer, one of ours")
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=issuer,
            # The instants are checked below against the `now` that was passed in, not against PyJWT's clock.
            options={"require": REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        payload = msgspec.convert(claims, _Payload)
        expires_at = None if payload.exp is None else datetime.fromtimestamp(payload.exp, UTC)
        issued_at = datetime.fromtimestamp(payload.iat, UTC)
    except (jwt.InvalidTokenError, msgspec.ValidationError) as error:
        raise BadToken("malformed", f"not a valid token: {type(error).__name__}") from error
    except (ValueError, OverflowError, OSError) as error:
        raise BadToken("malformed", "a date beyond the calendar") from error
    if expires_at is not None and now >= expires_at:
        raise BadToken("expired", "past its expiry")
    return Claims(payload.jti, payload.role, payload.sub, issued_at, expires_at, kid)
