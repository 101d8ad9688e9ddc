"""Cursor paging: a page's `next` names the last row that it showed, so nothing is skipped or shown twice."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from litestar.di import Provide
from litestar.params import FromQuery, QueryParameter

from app.http.envelope import Answer
from app.http.problem import bad_request

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
T = TypeVar("T")


class Page(msgspec.Struct, frozen=True):
    """What was asked: at most `limit` rows after the row with the sort key `after` (None: from the start)."""

    limit: int
    after: tuple[str, ...] | None


def paged(key_parts: int) -> dict[str, Provide]:
    """Return the dependency of a list whose rows are sorted by a key of so many parts: `page: NamedDependency[Page]`.

    The page is read from `limit` and `cursor`; `Problem` 400 names the one at fault.
    """

    def page(
        limit: Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> Page:
        return Page(limit, None if cursor is None else _sort_key(cursor, key_parts))

    return {"page": Provide(page, sync_to_thread=False)}


def page_of_rows(
    rows: Sequence[T], page: Page, key: Callable[[T], Sequence[str]], *, meta: Mapping[str, Any] | None = None
) -> Answer[list[T]]:
    """Return the answer that shows one page; `meta.next` is the cursor of the next, null on the last.

    `rows` are read with `LIMIT page.limit + 1`: the one too many says that there is a next page, and is not shown.
    `key` gives the sort key of a row; `meta` is added to the answer's.
    """
    shown = list(rows[: page.limit])
    following = cursor_for(key(shown[-1])) if len(rows) > page.limit else None
    return Answer(shown, meta={"next": following, **(meta or {})})


def cursor_for(key: Sequence[str]) -> str:
    """Return the cursor that continues after the row with this sort key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(list(key))).decode("ascii").rstrip("=")


def _sort_key(cursor: str, parts: int) -> tuple[str, ...]:
    try:
        key = msgspec.json.decode(
            base64.urlsafe_b64decode(cursor.encode("ascii") + b"=="), type=tuple[str, ...]
        )
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        key = ()
    if len(key) != parts:
        raise bad_request("cursor: not one that this server gave; start without it", "cursor")
    return key
