"""The secret behind pseudonyms."""

from pathlib import Path

import pytest

from app.privacy.anonymisation import SecretError, load_secret


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o700)
    secret = load_secret(tmp_path)
    assert len(secret) == 32
    assert load_secret(tmp_path) == secret
    path = tmp_path / "keys" / "privacy.key"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(SecretError, match="chmod 0600"):
        load_secret(tmp_path)
    path.chmod(0o600)
    path.write_text("zz")
    with pytest.raises(SecretError, match="not hexadecimal"):
        load_secret(tmp_path)
