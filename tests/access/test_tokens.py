"""Tokens: the good one is read back, every known attack on JWT is refused."""

import base64
import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from app.access.principal import Role
from app.access.tokens import MAX_LENGTH, TYPE, BadToken, Claims, decode_token, encode_token
from tests.clock import NOW

SECOND = NOW.replace(microsecond=0)
"""Tokens say instants in whole seconds."""

ISSUER = "urn:threatcloud:6f1c"
OURS = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
KEYS: dict[str, Ed25519PublicKey] = {"access-1": OURS.public_key(), "access-2": OTHER.public_key()}
CLAIMS: dict[str, Any] = {
    "aud": "threatcloud",
    "iat": int(SECOND.timestamp()),
    "iss": ISSUER,
    "jti": "3f2a9c0d11e2b3a4",
    "role": "agent",
    "sub": "agent-7",
}
HEADER = {"alg": "EdDSA", "kid": "access-1", "typ": TYPE}


def decode(token: str, now: datetime = SECOND) -> Claims:
    return decode_token(token, KEYS.get, ISSUER, now)


def refused(token: str, now: datetime = SECOND) -> str:
    with pytest.raises(BadToken) as caught:
        decode(token, now)
    assert len(token) < 40 or token not in str(caught.value)
    return caught.value.reason


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def forge(header: Any, claims: Any, key: Ed25519PrivateKey = OURS) -> str:
    """Sign exactly what is given, without a library that would mend it."""
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(key.sign(signed.encode()))}"


def good(expires_at: datetime | None = None) -> str:
    return encode_token(
        key_id="3f2a9c0d11e2b3a4",
        role=Role.AGENT,
        subject="agent-7",
        issued_at=SECOND,
        expires_at=expires_at,
        issuer=ISSUER,
        private_key=OURS,
        kid="access-1",
    )


def test_reads_back_what_was_encoded() -> None:
    end = SECOND + timedelta(days=90)
    assert decode(good(end)) == Claims("3f2a9c0d11e2b3a4", Role.AGENT, "agent-7", SECOND, end, "access-1")
    assert decode(good()).expires_at is None


def test_the_forged_baseline_is_accepted() -> None:
    assert decode(forge(HEADER, CLAIMS)).subject == "agent-7"


def test_expiry_has_no_leeway() -> None:
    token = good(SECOND + timedelta(hours=1))
    assert decode(token, SECOND + timedelta(minutes=59, seconds=59, milliseconds=999))
    assert refused(token, SECOND + timedelta(hours=1)) == "expired"


def test_alg_none_is_refused() -> None:
    assert refused(jwt.encode(CLAIMS, "", algorithm="none", headers=HEADER | {"alg": "none"})) == "malformed"
    unsigned = f"{b64(json.dumps(HEADER | {'alg': 'none'}).encode())}.{b64(json.dumps(CLAIMS).encode())}."
    assert refused(unsigned) == "malformed"
    assert refused(f"{b64(json.dumps(HEADER).encode())}.{b64(json.dumps(CLAIMS).encode())}.") == "malformed"


@pytest.mark.parametrize("encoding", ["pem", "raw"])
@pytest.mark.parametrize("named", ["HS256", "EdDSA"])
def test_hmac_with_the_public_key_as_secret_is_refused(encoding: str, named: str) -> None:
    public = OURS.public_key()
    secret = (
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        if encoding == "pem"
        else public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    )
    signed = f"{b64(json.dumps(HEADER | {'alg': named}).encode())}.{b64(json.dumps(CLAIMS).encode())}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    assert refused(f"{signed}.{b64(mac)}") == "malformed"


@pytest.mark.parametrize("kid", ["access-2", "access-9", "", "../access-1", "rule-1"])
def test_another_key_id_is_refused(kid: str) -> None:
    assert refused(forge(HEADER | {"kid": kid}, CLAIMS)) == "malformed"


@pytest.mark.parametrize("kid", [None, 7, ["access-1"], {"access-1": 1}])
def test_a_key_id_that_is_no_text_is_refused(kid: object) -> None:
    assert refused(forge(HEADER | {"kid": kid}, CLAIMS)) == "malformed"


def test_another_private_key_under_our_id_is_refused() -> None:
    assert refused(forge(HEADER, CLAIMS, OTHER)) == "malformed"


def test_ed448_is_refused() -> None:
    token = jwt.encode(CLAIMS, Ed448PrivateKey.generate(), algorithm="EdDSA", headers=HEADER)
    assert refused(token) == "malformed"


@pytest.mark.parametrize("left_out", ["kid", "typ", "alg"])
def test_an_incomplete_header_is_refused(left_out: str) -> None:
    assert refused(forge({k: v for k, v in HEADER.items() if k != left_out}, CLAIMS)) == "malformed"


@pytest.mark.parametrize(
    "more",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
        {"jku": "http://127.0.0.1/keys"},
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}},
        {"x5u": "file:///etc/passwd"},
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"alg": "ES256"},
        {"alg": "Ed25519"},
        {"alg": "eddsa"},
    ],
)
def test_any_other_header_is_refused(more: dict[str, object]) -> None:
    assert refused(forge(HEADER | more, CLAIMS)) == "malformed"


@pytest.mark.parametrize("left_out", sorted(CLAIMS))
def test_each_claim_is_needed(left_out: str) -> None:
    assert refused(forge(HEADER, {k: v for k, v in CLAIMS.items() if k != left_out})) == "malformed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "other"},
        {"aud": ["threatcloud", "other"]},
        {"iss": "urn:threatcloud:other"},
        {"role": "root"},
        {"role": ["admin"]},
        {"sub": 7},
        {"jti": None},
        {"iat": "yesterday"},
        {"iat": 10**30},
        {"exp": "never"},
        {"exp": 10**18},
        {"nbf": 1},
        {"admin": True},
    ],
)
def test_wrong_and_unknown_claims_are_refused(wrong: dict[str, object]) -> None:
    assert refused(forge(HEADER, CLAIMS | wrong)) == "malformed"


def test_a_changed_payload_is_refused() -> None:
    header, _, signature = good().split(".")
    payload = b64(json.dumps(CLAIMS | {"role": "admin"}).encode())
    assert refused(f"{header}.{payload}.{signature}") == "malformed"


def test_huge_and_deep_tokens_are_refused_without_harm() -> None:
    assert refused("a" * 10_000_000) == "malformed"
    padded = forge(HEADER, CLAIMS | {"sub": "a" * MAX_LENGTH})
    assert len(padded) > MAX_LENGTH
    assert refused(padded) == "malformed"
    deep = b64(b"[" * 1500)
    assert len(deep) < MAX_LENGTH
    assert refused(f"{deep}.e30.AA") == "malformed"
    signed = f"{b64(json.dumps(HEADER).encode())}.{b64(b'[' * 1200)}"
    assert refused(f"{signed}.{b64(OURS.sign(signed.encode()))}") == "malformed"


@pytest.mark.parametrize(
    "junk", ["", ".", "..", "a.b.c", "a.b.c.d", "é.e30.AA", "\x00.\x00.\x00", "e30.e30.e30"]
)
def test_junk_is_refused(junk: str) -> None:
    assert refused(junk) == "malformed"


@given(st.text(max_size=300) | st.text(alphabet="ey.JhbGci-_=", max_size=300))
def test_no_text_does_anything_but_be_refused(text: str) -> None:
    refused(text)


@given(st.data())
def test_no_changed_character_survives(data: st.DataObject) -> None:
    token = good()
    # The last character carries four bits that no decoder reads: another spelling of the same signature.
    position = data.draw(st.integers(0, len(token) - 2))
    letter = data.draw(st.sampled_from("ABCXYZabcxyz0189-_.="))
    if token[position] != letter:
        refused(token[:position] + letter + token[position + 1 :])
