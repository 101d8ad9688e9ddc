"""Signing keys on disk: made once, private, rotated with overlap, retired on purpose only."""

import base64
import hashlib
import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.signing.keys import (
    USES,
    ActiveSigningKey,
    SigningKeyError,
    SigningKeys,
    UnknownSigningKey,
)
from tests.clock import NOW


def test_first_start_makes_one_private_file_per_use(tmp_path: Path) -> None:
    SigningKeys.open(tmp_path, NOW)
    files = sorted((tmp_path / "keys").iterdir())
    assert [file.name.split("-")[:2] for file in files] == [[use, "20260417T103000Z"] for use in sorted(USES)]
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_files_are_private_under_a_careless_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        SigningKeys.open(tmp_path, NOW)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "keys").iterdir()} == {0o600}


def test_a_restart_finds_the_same_keys(tmp_path: Path) -> None:
    first = SigningKeys.open(tmp_path, NOW)
    second = SigningKeys.open(tmp_path, NOW + timedelta(days=9))
    assert first.jwks() == second.jwks()


def test_key_id_is_the_hash_of_the_public_key(tmp_path: Path) -> None:
    keys = SigningKeys.open(tmp_path, NOW)
    public = serialization.load_pem_public_key(keys.pem("rule").encode())
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert keys.signer("rule").kid == "rule-" + hashlib.sha256(der).hexdigest()[:16]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_open_to_others_is_refused_with_its_remedy(tmp_path: Path, mode: int) -> None:
    keys = SigningKeys.open(tmp_path, NOW)
    file = tmp_path / "keys" / keys.signer("manifest").file_name
    file.chmod(mode)
    with pytest.raises(SigningKeyError, match=f"mode {mode:04o}.*chmod 0600 .*manifest-"):
        SigningKeys.open(tmp_path, NOW)


def test_a_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    SigningKeys.open(tmp_path, NOW)
    (tmp_path / "keys").chmod(0o770)
    with pytest.raises(SigningKeyError, match="chmod 0700"):
        SigningKeys.open(tmp_path, NOW)


def test_rotation_overlaps_until_the_old_key_is_retired(tmp_path: Path) -> None:
    keys = SigningKeys.open(tmp_path, NOW)
    old = keys.signer("rule").kid
    new = keys.rotate("rule", NOW + timedelta(days=1))
    keys = SigningKeys.open(tmp_path, NOW)
    assert keys.signer("rule").kid == new
    assert keys.public("rule", old) is not None
    assert keys.retire(old).kid == old
    for state in (keys, SigningKeys.open(tmp_path, NOW)):
        assert state.public("rule", old) is None
        assert [key.kid for key in state.of("rule")] == [new]


def test_rotating_twice_in_a_second_or_with_a_clock_set_back_still_signs_with_the_newest(
    tmp_path: Path,
) -> None:
    keys = SigningKeys.open(tmp_path, NOW)
    for instant in (NOW, NOW, NOW - timedelta(days=400)):
        newest = keys.rotate("access", instant)
        assert keys.signer("access").kid == newest
        assert SigningKeys.open(tmp_path, NOW).signer("access").kid == newest


def test_the_active_key_and_unknown_keys_cannot_be_retired(tmp_path: Path) -> None:
    keys = SigningKeys.open(tmp_path, NOW)
    with pytest.raises(ActiveSigningKey):
        keys.retire(keys.signer("access").kid)
    with pytest.raises(UnknownSigningKey):
        keys.retire("access-0000000000000000")
    assert len(list((tmp_path / "keys").iterdir())) == 3


def test_a_key_serves_its_own_use_only(tmp_path: Path) -> None:
    keys = SigningKeys.open(tmp_path, NOW)
    assert keys.public("access", keys.signer("rule").kid) is None
    assert len({key["x"] for key in keys.jwks()["keys"]}) == 3


def test_the_jwk_set_verifies_what_the_signer_signs_and_holds_no_secret(tmp_path: Path) -> None:
    keys = SigningKeys.open(tmp_path, NOW)
    old = keys.signer("rule").kid
    keys.rotate("rule", NOW)
    signature = keys.signer("rule").private.sign(b"rule text")
    listed = [key for key in keys.jwks()["keys"] if key["threatcloud_use"] == "rule"]
    assert [key["kid"] for key in listed] == [keys.signer("rule").kid, old]
    active = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(listed[0]["x"] + "="))
    active.verify(signature, b"rule text")
    with pytest.raises(InvalidSignature):
        active.verify(signature, b"rule text.")
    assert listed[0] | {"x": "", "kid": ""} == {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "",
        "kid": "",
        "use": "sig",
        "alg": "EdDSA",
        "threatcloud_use": "rule",
    }


def test_a_damaged_or_unknown_file_stops_the_start_by_name(tmp_path: Path) -> None:
    keys = SigningKeys.open(tmp_path, NOW)
    file = tmp_path / "keys" / keys.signer("access").file_name
    good = file.read_bytes()
    other = (tmp_path / "keys" / keys.signer("rule").file_name).read_bytes()
    ed448 = Ed448PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for content in (b"", good[:40], other, ed448):
        file.write_bytes(content)
        with pytest.raises(SigningKeyError, match=file.name):
            SigningKeys.open(tmp_path, NOW)
    file.write_bytes(good)
    file.rename(file.with_name(file.name.replace("20260417T", "20269917T")))
    with pytest.raises(SigningKeyError, match="move it away"):
        SigningKeys.open(tmp_path, NOW)


def test_what_a_crash_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    keys = SigningKeys.open(tmp_path, NOW)
    partial = tmp_path / "keys" / "rule-20260417T000400Z-rule-0123456789abcdef.partial"
    partial.write_bytes(b"-----BEGIN PRIV")
    assert SigningKeys.open(tmp_path, NOW).jwks() == keys.jwks()
    assert not partial.exists()
