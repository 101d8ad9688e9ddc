"""Overlay entries that do nothing any more, or that upstream has changed the rule under."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlite_utils import Database

from app.doctor.finding import Finding
from app.http.timestamps import to_text
from app.overlay.config import Overlay, ReplaceOverlay
from app.overlay.text import read_replacement
from app.overlay.views import Listed, list_entries
from app.rules.local import ImportRefused


def files(declared: Sequence[Overlay]) -> Iterator[Finding]:
    """Configured texts that cannot replace a rule, each with everything that is wrong with it."""
    for entry in declared:
        if isinstance(entry, ReplaceOverlay):
            try:
                read_replacement(entry)
            except ImportRefused as refused:
                found = "; ".join(f"{m.name}: {m.field}: {m.message}" for m in refused.errors)
                todo = "Mend the file and reload; until then upstream's text is served."
                yield Finding(f"overlay {entry.rule}: text_file", "warning", found, todo)


def entries(db: Database, now: datetime) -> Iterator[Finding]:
    """One finding for each entry that somebody should look at; one for all others together."""
    listed = list_entries(db, to_text(now))
    odd = [finding for entry in listed if (finding := _odd(entry)) is not None]
    yield from odd
    if len(listed) > len(odd):
        yield Finding("overlay", "ok", f"{len(listed) - len(odd)} in force")


def _odd(entry: Listed) -> Finding | None:
    check, found = f"overlay {entry.rule_id}: {entry.action}", _what_is_odd(entry)
    if found is None:
        return None
    todo = f"threatcloud overlay show {entry.id}"
    if entry.state != "active":
        todo = (
            "Take it out of [[overlay]] in the configuration, or mend it there."
            if entry.declared == "config"
            else f"threatcloud overlay remove {entry.id}"
        )
    return Finding(check, "warning", f"{found} ({entry.owner}: {entry.reason})", todo)


def _what_is_odd(entry: Listed) -> str | None:
    if entry.state == "expired":
        return f"it ended at {entry.expires_at}"
    if entry.state == "unusable":
        return entry.problem
    if entry.state == "idle":
        return "it changes nothing: " + (
            "no upstream has the rule now" if entry.upstream is None else "upstream says the same"
        )
    return "upstream has changed the rule since" if entry.base_moved else None
