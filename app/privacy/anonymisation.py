"""Anonymisation of reports before anything of them is stored.

Addresses keep their network (IPv4 /16, IPv6 /48), instants their hour, names of people become pseudonyms, and
every text is bounded and printable.

The secret behind pseudonyms is 32 random bytes in `<state>/keys/privacy.key`, for the service user alone. It never
leaves that file: with it, names and addresses could be tried against what the database keeps.
"""

import hashlib
import hmac
import re
import secrets
import stat
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path

from app.access.networks import parse_address
from app.http.timestamps import from_text, to_text
from app.signing.keys import SigningKeyError
from app.storage.files import write_private

IPV4_PREFIX = 16
IPV6_PREFIX = 48
PSEUDONYM_LENGTH = 16

_SUSPECT = re.compile(r"[.:@/\\]")
"""Characters of which every address, path and mail address has one; most reported words have none."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff0-\uffff]+")
"""Control characters, and characters that reorder or hide text in a terminal or on a page."""

_IPV4_IN_TEXT = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_IPV6_IN_TEXT = re.compile(
    r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:\.\d{1,3}){0,3}(?![\w:]|\.\d)"
)
_HOME_IN_TEXT = re.compile(r"((?:/home/|/Users/|[A-Za-z]:[\\/]+Users[\\/]+))([^\\/\s:'\"<>|]{1,64})")
_MAIL_IN_TEXT = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?=[A-Za-z0-9-]{1,63}\.[A-Za-z0-9.-]{1,190})")


@lru_cache(maxsize=8192)
def masked_address(text: str) -> str | None:
    """Return the network of an address, as `203.0.0.0/16` or `2001:db8:1::/48`; None for any other text.

    Takes every spelling that `parse_address` takes (port, brackets, zone, IPv4 in IPv6). Stock reporters also send
    a uuid or `unknown` in place of an address: that is None too.
    """
    parsed = parse_address(text.strip())
    if parsed is None:
        return None
    prefix = IPV4_PREFIX if parsed.version == 4 else IPV6_PREFIX
    return str(
        ip_network((int(parsed), prefix) if parsed.version == 6 else f"{parsed}/{prefix}", strict=False)
    )


def to_hour(instant: datetime) -> datetime:
    """Return the hour that an instant lies in."""
    return instant.replace(minute=0, second=0, microsecond=0)


def reported_hour(text: str | None, received: datetime) -> str:
    """Return the hour of a reported instant as text; that of `received` for none, an unreadable or a future one."""
    try:
        instant = received if text is None else from_text(text[:64])
    except ValueError:
        instant = received
    return to_text(to_hour(min(instant, received)))


def bounded(text: str, limit: int) -> str:
    """Return at most `limit` characters; each run of unprintable or direction-changing ones becomes one space."""
    return _UNPRINTABLE.sub(" ", text[: 2 * limit]).strip()[:limit].rstrip()


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Names for people and devices that only this instance can link to the originals.

    Keyed with the instance's secret (HMAC-SHA-256), so that nobody else can try a list of names against them.
    """

    secret: bytes

    def of(self, kind: str, text: str) -> str:
        """Return the pseudonym, 16 hex digits, of `text` as a `kind` (`user`, `client`, `device`, ...).

        The same text under another kind has another pseudonym.
        """
        return self._digest(kind, text).hex()[:PSEUDONYM_LENGTH]

    def fingerprint(self, kind: str, text: str) -> str:
        """Return all 64 hex digits, for where two values must never be confused."""
        return self._digest(kind, text).hex()

    def scrubbed(self, text: str, limit: int) -> str:
        """Return free text with addresses masked, and names in home folders and mail addresses hashed.

        At most `limit` characters, all printable. Cut before it is searched, so the time it takes is bounded.
        """
        if not _SUSPECT.search(text):
            return bounded(text, limit)
        text = _UNPRINTABLE.sub(" ", text[: 2 * limit])
        text = _IPV6_IN_TEXT.sub(_mask_match, text)
        text = _IPV4_IN_TEXT.sub(_mask_match, text)
        text = _HOME_IN_TEXT.sub(lambda found: f"{found[1]}~{self.of('user', found[2])}", text)
        text = _MAIL_IN_TEXT.sub(lambda found: f"~{self.of('user', found[0][:-1])}@", text)
        return text.strip()[:limit].rstrip()

    def _digest(self, kind: str, text: str) -> bytes:
        message = kind.encode() + b"\x00" + text.encode("utf-8", "surrogatepass")
        return hmac.new(self.secret, message, hashlib.sha256).digest()


def _mask_match(found: re.Match[str]) -> str:
    return masked_address(found[0]) or found[0]


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
