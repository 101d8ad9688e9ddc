"""Overlay entries as people look at them: with their state, and beside what upstream made of the rule."""

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter

import msgspec
from sqlite_utils import Database

from app.federation.errors import UnknownEntry
from app.overlay.compare import Sides
from app.overlay.resolve import Action, Declared, Entry, Held, State, base_moved, state_of
from app.overlay.store import entries, entry, held_rows, severities, text_of
from app.rules.compare import FieldChange

_UNUSABLE = {
    "pin": "No kept version of an upstream has the text that this pins.",
    "replace": "The file with the text cannot be used; the log and `threatcloud doctor` say why.",
}


class Listed(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One entry; `base` and `digest` are SHA-256 of texts, `upstream` is the origin that has the rule now."""

    id: str
    rule_id: str
    action: Action
    state: State
    base_moved: bool
    severity: str | None
    digest: str | None
    base: str | None
    owner: str
    reason: str
    created_at: str
    expires_at: str | None
    declared: Declared
    upstream: str | None
    title: str | None
    problem: str | None
    """Why it is unusable."""
    guard_refusal: str | None
    """Why Guards could not load the replacement text."""
    warnings: tuple[str, ...]
    """What is unusual about the replacement text."""


class Compared(Listed, frozen=True, rename="camel", kw_only=True):
    """An entry with the text that upstream had when it was made, what the entry makes of that, and upstream's now.

    `theirs` is what upstream changed since, `ours` what we changed, `conflicts` the fields that both did.
    """

    base_text: str | None
    our_text: str | None
    upstream_text: str | None
    theirs: list[FieldChange]
    ours: list[FieldChange]
    conflicts: list[str]


def list_entries(db: Database, at: str, rule_id: str | None = None) -> list[Listed]:
    """Every entry, or those of one rule, by rule and action."""
    found = entries(db, rule_id)
    rows = held_rows(db, rule_id)
    own = severities(db, [*(row.held.digest for row in rows), *(one.digest for one in found)])
    active = {i: [*group] for i, group in groupby((r for r in rows if r.is_active), attrgetter("rule_id"))}
    listed = []
    for i, group in groupby(found, attrgetter("rule_id")):
        mine, holders = list(group), active.get(i, [])
        held = [row.held for row in holders]
        origin = holders[0].origin if holders else None
        listed += [_listed(db, one, state_of(one, mine, held, own, at), held, origin) for one in mine]
    return listed


def show_entry(db: Database, entry_id: str, at: str) -> tuple[Listed, Sides]:
    """One entry with its texts; raises `UnknownEntry`."""
    one = entry(db, entry_id)
    for listed in list_entries(db, at, one.rule_id):
        if listed.id == entry_id:
            holders = [row for row in held_rows(db, one.rule_id) if row.is_active]
            now = text_of(db, holders[0].held.digest) if holders else None
            return listed, Sides(text_of(db, one.base), text_of(db, one.digest), one.severity, now)
    raise UnknownEntry("This overlay entry has just been removed.")


def _listed(db: Database, one: Entry, state: State, held: list[Held], origin: str | None) -> Listed:
    title, refusal, warnings = _facts(db, one, held)
    return Listed(
        **{name: getattr(one, name) for name in Entry.__struct_fields__},
        state=state,
        base_moved=base_moved(one, held),
        upstream=origin,
        title=title,
        problem=_UNUSABLE.get(one.action) if state == "unusable" else None,
        guard_refusal=refusal if one.action == "replace" else None,
        warnings=tuple(warnings) if one.action == "replace" else (),
    )


def _facts(db: Database, one: Entry, held: list[Held]) -> tuple[str | None, str | None, Iterator[str]]:
    """Title, guard refusal and warnings of the text that the entry is about."""
    digest = one.digest or (held[0].digest if held else one.base)
    row = db.conn.execute(
        "SELECT title, guard_refusal, warnings FROM rule_text WHERE digest = ?", [digest]
    ).fetchone()
    if row is None:
        return None, None, iter(())
    title, refusal, warnings = row
    return title, refusal, (f"{w['field']}: {w['message']}" for w in msgspec.json.decode(warnings))
