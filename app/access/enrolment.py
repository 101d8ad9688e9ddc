"""What a new key is called, and how long it lives."""

import re
import secrets
from datetime import UTC, datetime, timedelta

from app.http.problem import bad_request
from app.http.timestamps import from_text

SELF_PREFIX = "self:"
UNITS = {"d": "days", "h": "hours", "m": "minutes"}
RESERVED = frozenset({"local", "anonymous"})
_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_SPAN = re.compile(r"([0-9]{1,6})([dhm])")
_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked_subject(subject: str) -> str:
    """Return a subject that an admin may give; raises `Problem` 400 for one that is malformed or reserved."""
    if not _SUBJECT.fullmatch(subject):
        raise bad_request(
            "subject: 1 to 128 letters, digits or . _ : @ - and a letter or digit first", "subject"
        )
    if subject.lower().startswith(SELF_PREFIX) or subject in RESERVED:
        raise bad_request(
            "subject: this name is kept for clients that an administrator did not name", "subject"
        )
    return subject


def checked_site(site: str | None) -> str | None:
    """Return a site label, or None; raises `Problem` 400 for a malformed one."""
    if site is not None and not _SITE.fullmatch(site):
        raise bad_request("site: 1 to 64 letters, digits or . _ - and a letter or digit first", "site")
    return site


def checked_client_id(client_id: str) -> str:
    """Return the label that a client registers under; raises `Problem` 400 as the public server words it."""
    if not 8 <= len(client_id) <= 128 or not client_id.isprintable():
        raise bad_request("clientId must be a string (8-128 chars)", "clientId")
    return client_id


def new_subject() -> str:
    """Return an identity for a client that registers itself: always new, so no client takes over another's."""
    return SELF_PREFIX + secrets.token_hex(8)


def new_key_id() -> str:
    """Return 64 random bits in hex: short enough to be written out wherever a key is named."""
    return secrets.token_hex(8)


def parse_lifetime(text: str, now: datetime) -> datetime:
    """Return the instant, in whole seconds, at which a key issued `now` expires.

    `text` is a span (`90d`, `12h`, `30m`) or an ISO 8601 instant. Raises `Problem` 400 that names `expires` for
    anything else, and for an instant that is not in the future.
    """
    span = _SPAN.fullmatch(text.strip())
    try:
        end = now + timedelta(**{UNITS[span[2]]: int(span[1])}) if span else from_text(text)
    except ValueError as error:
        raise bad_request(
            "expires: a span such as 90d, 12h or 30m, or an instant such as 2027-01-31T00:00:00Z", "expires"
        ) from error
    end = end.astimezone(UTC).replace(microsecond=0)
    if end <= now:
        raise bad_request("expires: this is not in the future", "expires")
    return end
