"""Statements are signed and read back; key files hold Ed25519 public keys only."""

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from app.signing.jws import StatementError, peek_unverified, read_keys, read_statement, sign
from tests.bundles.exporter import new_key, pem_of

KEY = new_key()


class Claims(msgspec.Struct):
    serial: int


def test_a_statement_is_read_back_with_the_right_key_and_type_only() -> None:
    token = sign("publication+jwt", {"serial": 7}, KEY)
    assert token == sign("publication+jwt", {"serial": 7}, KEY)
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": KEY.kid, "typ": "publication+jwt"}
    keys = (new_key().public, KEY.public)
    assert read_statement("publication+jwt", token.encode(), keys, Claims, "It") == Claims(7)
    with pytest.raises(StatementError, match="not signed by any of the given keys") as caught:
        read_statement("publication+jwt", token.encode(), keys[:1], Claims, "It")
    assert caught.value.code == "signature"
    with pytest.raises(StatementError, match="not a statement of type bundle"):
        read_statement("bundle+jwt", token.encode(), keys, Claims, "It")


def test_signed_claims_of_another_shape_are_refused_as_such() -> None:
    token = sign("receipt+jwt", {"serial": "seven"}, KEY)
    with pytest.raises(StatementError, match="signed, but not understood") as caught:
        read_statement("receipt+jwt", token.encode(), [KEY.public], Claims, "It")
    assert caught.value.code == "shape"


def test_peeking_reads_without_checking() -> None:
    token = sign("publication+jwt", {"serial": 7}, KEY)
    forged = token.rpartition(".")[0] + "." + "A" * 86
    for text in (token, forged, forged.encode()):
        header, claims = peek_unverified(text)
        assert (header["kid"], claims) == (KEY.kid, {"serial": 7})
    for text in ("", "a.b.c", b"\xff.\xff.\xff"):
        with pytest.raises(StatementError):
            peek_unverified(text)


def test_key_files_hold_ed25519_public_keys_only() -> None:
    other = rsa.generate_private_key(65537, 2048)
    rsa_pem = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = KEY.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    wrong = [
        b"",
        b"no key",
        rsa_pem,
        private,
        pem_of(KEY) + rsa_pem,
        pem_of(KEY).replace(b"MCow", b"MCox"),
        pem_of(KEY) * 17,
        b"x" * 70_000 + pem_of(KEY),
    ]
    for pem in wrong:
        with pytest.raises(StatementError) as caught:
            read_keys(pem)
        assert caught.value.code == "key"
    assert len(read_keys(b"the old one\n" + pem_of(KEY) + b"\nthe new one\n" + pem_of(new_key()))) == 2
