"""The secret behind pseudonyms: 32 random bytes in `<state>/keys/privacy.key`, for the service user alone.

It never leaves that file: with it, names and addresses could be tried against what the database keeps.
"""

import secrets
import stat
from pathlib import Path

from app.signing.keys import SigningKeyError
from app.storage.files import write_private

FILE = Path("keys") / "privacy.key"
SIZE = 32


class SecretError(SigningKeyError):
    """The file cannot be used; the message says what to do."""


def load_secret(state_dir: Path) -> bytes:
    """Return the instance's secret, made on first use; the folder `<state_dir>/keys` must be there.

    Raises `SecretError` for a file that is open to others than its owner, or damaged. After the loss of the
    file, pseudonyms are new ones; nothing else is lost.
    """
    path = state_dir / FILE
    if not path.exists():
        write_private(path, f"{secrets.token_bytes(SIZE).hex()}\n".encode("ascii"))
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SecretError(f"{path} can be read by others than its owner: run chmod 0600 {path}")
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError as error:
        raise SecretError(f"{path} is not hexadecimal: restore it, or delete it for a new one") from error
    if len(secret) != SIZE:
        raise SecretError(f"{path} is not {SIZE} bytes: restore it, or delete it for a new one")
    return secret
