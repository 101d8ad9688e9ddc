"""Cursor paging: a page's `next` names the last row that it showed, so nothing is skipped or shown twice."""

import base64
import binascii
from collections.abc import Mapping, Sequence

import msgspec

from app.http.problem import bad_request

DEFAULT_LIMIT = 50
MAX_LIMIT = 500


class Page(msgspec.Struct, frozen=True):
    """What was asked: at most `limit` rows after the row with the sort key `after` (None: from the start)."""

    limit: int
    after: tuple[str, ...] | None


def page_of(query: Mapping[str, str], key_parts: int = 2) -> Page:
    """Read `limit` and `cursor`; raises `Problem` 400 that names the parameter at fault."""
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_LIMIT):
        raise bad_request(f"limit: a whole number from 1 to {MAX_LIMIT}", "limit")
    cursor = query.get("cursor")
    if cursor is None:
        return Page(int(text), None)
    try:
        after = msgspec.json.decode(
            base64.urlsafe_b64decode(cursor.encode("ascii") + b"=="), type=tuple[str, ...]
        )
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        after = ()
    if len(after) != key_parts:
        raise bad_request("cursor: not one that this server gave; start without it", "cursor")
    return Page(int(text), after)


def cursor_for(key: Sequence[str]) -> str:
    """The cursor that continues after the row with this sort key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(list(key))).decode("ascii").rstrip("=")
