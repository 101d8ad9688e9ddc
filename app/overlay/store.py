"""The SQL of overlay entries, and of what they make of the rules that upstreams hold.

Table `overlay` has the entries. Table `overlaid` says for each rule that an entry changes whether it is served and
with which text; publication reads that and knows nothing of entries.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
from sqlite_utils import Database

from app.overlay.errors import UnknownEntry
from app.overlay.resolve import OverlayEntry, UpstreamRule


@dataclass(frozen=True, slots=True)
class UpstreamRuleRow:
    """An upstream's rule with an id that an entry names."""

    origin: str
    rule_id: str
    held: UpstreamRule
    is_active: bool


@dataclass(frozen=True, slots=True)
class TextFacts:
    """Facts about a kept text: its title, why Guards could not load it, and what is unusual about it."""

    title: str | None = None
    guard_refusal: str | None = None
    warnings: tuple[str, ...] = ()


def entries(db: Database, rule_id: str | None = None) -> list[OverlayEntry]:
    """Return every entry, or those of one rule, by rule and action."""
    rows = db.table("overlay").rows_where(
        "rule_id = ? OR ? IS NULL", [rule_id, rule_id], order_by="rule_id, action"
    )
    return [OverlayEntry(**row) for row in rows]


def entry(db: Database, entry_id: str) -> OverlayEntry:
    """Return one entry; raise `UnknownEntry`."""
    for row in db.table("overlay").rows_where("id = ?", [entry_id]):
        return OverlayEntry(**row)
    raise UnknownEntry("No overlay entry has this id; see `threatcloud overlay list`.")


def insert(db: Database, new: OverlayEntry) -> None:
    """Add an entry; there is none yet for its rule and action."""
    db.table("overlay").insert(msgspec.structs.asdict(new))


def delete(db: Database, entry_id: str) -> None:
    """Take an entry away, if it is there."""
    db.table("overlay").delete_where("id = ?", [entry_id])


def set_missing_bases(db: Database, rule_id: str, digest: str) -> None:
    """Give this base to the entries of a rule that have none yet."""
    db.execute("UPDATE overlay SET base = ? WHERE rule_id = ? AND base IS NULL", [digest, rule_id])


def is_due(db: Database, since: str, at: str) -> bool:
    """Return True when an entry has ended in this time, or a configured pin may find its text now."""
    (due,) = db.execute(
        "SELECT EXISTS (SELECT 1 FROM overlay WHERE expires_at > ? AND expires_at <= ?)"
        " OR EXISTS (SELECT 1 FROM overlay WHERE action = 'pin' AND digest IS NULL"
        " AND EXISTS (SELECT 1 FROM upstream_version WHERE first_seen >= ?))",
        [since, at, since],
    ).fetchone()
    return bool(due)


def upstream_rules(db: Database, rule_id: str | None = None) -> list[UpstreamRuleRow]:
    """Return upstreams' rules that an entry names (or with this id), in any state, by id and descending priority."""
    rows = db.execute(
        "SELECT r.origin, r.rule_id, r.digest, r.excluded IS NOT NULL, r.state = 'active'"
        " FROM rule r LEFT JOIN upstream u ON 'upstream:' || u.name = r.origin"
        " WHERE r.origin LIKE 'upstream:%'"
        " AND (r.rule_id = ? OR (? IS NULL AND r.rule_id IN (SELECT rule_id FROM overlay)))"
        " ORDER BY r.rule_id, r.excluded IS NOT NULL, coalesce(u.priority, 100) DESC, r.origin",
        [rule_id, rule_id],
    )
    return [
        UpstreamRuleRow(origin, i, UpstreamRule(digest, bool(excluded)), bool(active))
        for origin, i, digest, excluded, active in rows
    ]


def digest_in_version(db: Database, rule_id: str, version: str) -> str | None:
    """Return the digest of a rule's text in a kept version of an upstream, given by its label or number."""
    row = db.execute(
        "SELECT u.digest FROM upstream_rule u JOIN upstream_version v ON v.id = u.version"
        " WHERE u.rule_id = ? AND (v.label = ? OR CAST(v.id AS TEXT) = ?) ORDER BY v.label = ? DESC, v.id DESC",
        [rule_id, *[version] * 3],
    ).fetchone()
    return row[0] if row else None


def severities(db: Database, digests: Iterable[str | None]) -> dict[str, str]:
    """Return `digest -> severity` as each of these texts states it."""
    wanted = msgspec.json.encode(sorted({digest for digest in digests if digest is not None})).decode()
    rows = db.execute(
        "SELECT digest, severity FROM rule_text WHERE digest IN (SELECT value FROM json_each(?))", [wanted]
    )
    return dict(rows.fetchall())


def text_facts(db: Database, digest: str | None) -> TextFacts:
    """Return the facts about a kept text, or empty ones."""
    row = db.execute(
        "SELECT title, guard_refusal, warnings FROM rule_text WHERE digest = ?", [digest]
    ).fetchone()
    if row is None:
        return TextFacts()
    title, refusal, warnings = row
    return TextFacts(
        title, refusal, tuple(f"{w['field']}: {w['message']}" for w in msgspec.json.decode(warnings))
    )


def replace_overlaid(db: Database, wanted: Mapping[tuple[str, str], tuple[int, str | None]]) -> bool:
    """Bring table `overlaid` to `(origin, rule id) -> (served, digest)`; return True when that changed it."""
    table = db.table("overlaid")
    present = {(row["origin"], row["rule_id"]): (row["served"], row["digest"]) for row in table.rows}
    gone = [key for key in present if key not in wanted]
    new = {key: value for key, value in wanted.items() if present.get(key) != value}
    for key in gone:
        table.delete_where("origin = ? AND rule_id = ?", key)
    table.insert_all(
        (
            {"origin": origin, "rule_id": rule_id, "served": served, "digest": digest}
            for (origin, rule_id), (served, digest) in new.items()
        ),
        replace=True,
    )
    return bool(gone or new)
