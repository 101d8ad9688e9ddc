"""Items that name a text without bringing it: a delta's rules whose text its exporter has sent before."""

import hashlib
from collections.abc import Iterable

from sqlite_utils import Database

from app.federation.offer import RejectedItem
from app.federation.sources.collected import Item, SetAside, SourceError
from app.rules.store import rule_id_of_text

_EMPTY = hashlib.sha256(b"").hexdigest()


def is_reference(item: Item) -> bool:
    """Return True for an item of size 0; a text that really is empty has the digest of nothing."""
    return item.size == 0 and item.digest != _EMPTY


def known_references(db: Database, items: Iterable[Item]) -> dict[str, str]:
    """Return `digest -> rule id` of those texts that are kept here, whatever their origin."""
    known: dict[str, str] = {}
    for item in filter(is_reference, items):
        rule_id = rule_id_of_text(db, item.digest)
        if rule_id is not None:
            known[item.digest] = rule_id
    return known


def set_aside_again(items: Iterable[Item], before: Iterable[SetAside]) -> list[RejectedItem]:
    """Return references to texts that are not here: right for rules that were set aside when their text came.

    Raise `SourceError` (`gap`) when there is another one.
    """
    reasons = {aside.rule_id: aside.reason for aside in before}
    found: list[RejectedItem] = []
    for item in items:
        if item.name not in reasons:
            raise SourceError("gap", f"It builds on the text of {item.name}, which is not here.")
        found.append(RejectedItem(item, reasons[item.name], None))
    return found
