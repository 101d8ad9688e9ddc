"""Detection of replays: answers older than one seen before, from a cache or an attacker in between.

None of this proves anything against an attacker who can write answers; it catches those who can only repeat them.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime

import httpx
import msgspec

from app.federation.sources.collected import Memory, SourceError
from app.federation.sources.http import read_json
from app.http.problem import quoted
from app.http.timestamps import from_http_date

HEADER = "Threatcloud-Freshness"


class _Claims(msgspec.Struct, frozen=True):
    serial: int
    exp: float


def fresh_serial(headers: httpx.Headers, memory: Memory, now: datetime) -> int:
    """Return the serial of the freshness token beside a 200 or 304 of another instance; 0 without a token.

    Its signature is not verified, since the key is not known here: it guards against caches that hand out old
    answers. Raises `SourceError` replayed when the token has expired or its serial is lower than one seen before,
    and mixed-up when it is no token.
    """
    token = headers.get(HEADER, "")
    if not token:
        return 0
    try:
        payload = token.split(".")[1]
        claims = read_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), _Claims)
    except (IndexError, ValueError, binascii.Error, SourceError):
        raise SourceError("mixed-up", f"The header {HEADER} holds no token.") from None
    if claims.exp < now.timestamp():
        raise SourceError(
            "replayed",
            "The freshness token of the answer has expired: a cache hands out old answers, or a clock is wrong.",
        )
    if claims.serial < memory.serial:
        raise SourceError(
            "replayed", f"The answer is of serial {claims.serial}; serial {memory.serial} was seen before."
        )
    return claims.serial


def check_instants(published: Mapping[str, str], newest: str, date_header: str, memory: Memory) -> None:
    """Raise `SourceError` replayed when the rules are older than they were.

    Instants of a rule only grow: an edited rule gets a new one, and the public server gives all of them a new one
    at each restart. So one rule with an older instant shows an older answer. An answer whose newest instant is older
    than before may be right, when the newest rule was deleted; then its `Date` is newer than the last one. With an
    older `Date` it is an older answer.
    """
    for name in published.keys() & memory.published.keys():
        if published[name] < memory.published[name]:
            raise SourceError("replayed", f"The rule {quoted(name)} is older than the one seen before.")
    if newest < memory.newest:
        date, before = from_http_date(date_header), from_http_date(memory.date)
        if date is not None and before is not None and date < before:
            raise SourceError("replayed", "The whole answer is older than the one seen before.")
