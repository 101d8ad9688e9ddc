"""Overlay entries as people see them: with their state, and beside what upstream made of the rule."""

from itertools import groupby
from operator import attrgetter

import msgspec
from sqlite_utils import Database

from app.overlay import store
from app.overlay.errors import UnknownEntry
from app.overlay.resolve import (
    DeclaredIn,
    OverlayAction,
    OverlayEntry,
    OverlayState,
    UpstreamRule,
    base_moved,
    state_of,
)
from app.overlay.texts import ComparedTexts
from app.rules.compare import FieldChange
from app.rules.store import text_of

_UNUSABLE = {
    "pin": "No kept version of an upstream has the text that this pins.",
    "replace": "The file with the text cannot be used; the log and `threatcloud doctor` say why.",
}


class OverlayEntrySummary(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One entry; `base` and `digest` are SHA-256 of texts, `upstream` is the origin that has the rule now."""

    id: str
    rule_id: str
    action: OverlayAction
    state: OverlayState
    base_moved: bool
    severity: str | None
    digest: str | None
    base: str | None
    owner: str
    reason: str
    created_at: str
    expires_at: str | None
    declared: DeclaredIn
    upstream: str | None
    title: str | None
    problem: str | None
    """Why it is unusable."""
    guard_refusal: str | None
    """Why Guards could not load the replacement text."""
    warnings: tuple[str, ...]
    """What is unusual about the replacement text."""


class OverlayComparison(OverlayEntrySummary, frozen=True, rename="camel", kw_only=True):
    """An entry with upstream's text of when it was made, our text, and upstream's text of now.

    `theirs` is what upstream changed since, `ours` what we changed, `conflicts` the fields that both did.
    """

    base_text: str | None
    our_text: str | None
    upstream_text: str | None
    theirs: list[FieldChange]
    ours: list[FieldChange]
    conflicts: list[str]


def list_entries(db: Database, at: str, rule_id: str | None = None) -> list[OverlayEntrySummary]:
    """Return every entry, or those of one rule, by rule and action."""
    found = store.entries(db, rule_id)
    rows = store.upstream_rules(db, rule_id)
    own = store.severities(db, [*(row.held.digest for row in rows), *(one.digest for one in found)])
    active = {i: [*group] for i, group in groupby((r for r in rows if r.is_active), attrgetter("rule_id"))}
    listed = []
    for i, group in groupby(found, attrgetter("rule_id")):
        of_this_rule, holders = list(group), active.get(i, [])
        held = [row.held for row in holders]
        origin = holders[0].origin if holders else None
        listed += [
            _summary(db, one, state_of(one, of_this_rule, held, own, at), held, origin)
            for one in of_this_rule
        ]
    return listed


def show_entry(db: Database, entry_id: str, at: str) -> tuple[OverlayEntrySummary, ComparedTexts]:
    """Return one entry with its texts; raise `UnknownEntry`."""
    one = store.entry(db, entry_id)
    for listed in list_entries(db, at, one.rule_id):
        if listed.id == entry_id:
            holders = [row for row in store.upstream_rules(db, one.rule_id) if row.is_active]
            now = text_of(db, holders[0].held.digest) if holders else None
            texts = ComparedTexts(text_of(db, one.base), text_of(db, one.digest), one.severity, now)
            return listed, texts
    raise UnknownEntry("This overlay entry has just been removed.")


def _summary(
    db: Database, one: OverlayEntry, state: OverlayState, held: list[UpstreamRule], origin: str | None
) -> OverlayEntrySummary:
    facts = store.text_facts(db, one.digest or (held[0].digest if held else one.base))
    return OverlayEntrySummary(
        **msgspec.structs.asdict(one),
        state=state,
        base_moved=base_moved(one, held),
        upstream=origin,
        title=facts.title,
        problem=_UNUSABLE.get(one.action) if state == "unusable" else None,
        guard_refusal=facts.guard_refusal if one.action == "replace" else None,
        warnings=facts.warnings if one.action == "replace" else (),
    )
