"""The SQL that reads overlay entries and settles what follows from them for the rules that upstreams hold.

Table `overlaid` says for each rule that an entry changes whether it is served and with which text; publication
reads that and knows nothing of entries. `settle` recomputes it, for rules that have an entry only.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlite_utils import Database

from app.federation.errors import UnknownEntry
from app.overlay.resolve import Entry, Held, resolve
from app.rules.edit import with_severity
from app.rules.inspect import inspect_text
from app.rules.store import put_text
from app.rules.validate import Profile

COLUMNS = ", ".join(Entry.__struct_fields__)


@dataclass(frozen=True, slots=True)
class HeldRow:
    """An upstream's rule with an id that an entry names."""

    origin: str
    rule_id: str
    held: Held
    is_active: bool


def entries(db: Database, rule_id: str | None = None) -> list[Entry]:
    """Every entry, or those of one rule, by rule and action."""
    rows = db.conn.execute(
        f"SELECT {COLUMNS} FROM overlay WHERE rule_id = ? OR ? IS NULL ORDER BY rule_id, action",
        [rule_id, rule_id],
    )
    return [Entry(*row) for row in rows]


def entry(db: Database, entry_id: str) -> Entry:
    """One entry; raises `UnknownEntry`."""
    row = db.conn.execute(
        f"SELECT {COLUMNS} FROM overlay WHERE id = ?",
        [entry_id],
    ).fetchone()
    if row is None:
        raise UnknownEntry("No overlay entry has this id; see `threatcloud overlay list`.")
    return Entry(*row)


def held_rows(db: Database, rule_id: str | None = None) -> list[HeldRow]:
    """Upstreams' rules that an entry names (or with this id), in any state; for each id, what counts most first."""
    rows = db.conn.execute(
        "SELECT r.origin, r.rule_id, r.digest, r.excluded IS NOT NULL, r.state = 'active'"
        " FROM rule r LEFT JOIN upstream u ON 'upstream:' || u.name = r.origin"
        " WHERE r.origin LIKE 'upstream:%'"
        " AND (r.rule_id = ? OR (? IS NULL AND r.rule_id IN (SELECT rule_id FROM overlay)))"
        " ORDER BY r.rule_id, r.excluded IS NOT NULL, coalesce(u.priority, 100) DESC, r.origin",
        [rule_id, rule_id],
    )
    return [
        HeldRow(origin, i, Held(digest, bool(out)), bool(active)) for origin, i, digest, out, active in rows
    ]


def severities(db: Database, digests: Iterable[str | None]) -> dict[str, str]:
    """`digest -> severity` as each of these texts says it."""
    wanted = msgspec.json.encode(sorted({digest for digest in digests if digest is not None})).decode()
    rows = db.conn.execute(
        "SELECT digest, severity FROM rule_text WHERE digest IN (SELECT value FROM json_each(?))", [wanted]
    )
    return dict(rows.fetchall())


def text_of(db: Database, digest: str | None) -> str | None:
    """A kept text."""
    row = db.conn.execute("SELECT text FROM rule_text WHERE digest = ?", [digest]).fetchone()
    return row[0] if row else None


def settle(db: Database, at: str) -> bool:
    """Recompute what entries make of upstreams' rules at this instant; True when that changed.

    To be called in the transaction that changes entries, upstreams' rules or their filters. An entry made before
    any upstream had its rule gets its base here. Only texts that get another severity are parsed, 2 ms each and once
    in the life of the process (measured on the 785 published rules; after that 500 of them take 20 ms).
    """
    by_rule: dict[str, list[Entry]] = {}
    for one in entries(db):
        by_rule.setdefault(one.rule_id, []).append(one)
    rows = held_rows(db)
    _give_bases(db, by_rule, rows)
    own = severities(db, [*(r.held.digest for r in rows), *(e.digest for es in by_rule.values() for e in es)])
    wanted: dict[tuple[str, str], tuple[int, str | None]] = {}
    for row in rows:
        mine = by_rule[row.rule_id]
        if any(e.action == "disable" and e.is_in_force(at) for e in mine):
            # In any state: a rollback may serve what upstream has dropped since, but not what we disabled.
            wanted[row.origin, row.rule_id] = (0, None)
        elif row.is_active:
            effect = resolve(mine, row.held, own, at)
            if effect != resolve((), row.held, own, at):
                digest = effect.digest
                if effect.severity is not None:
                    digest = _put_with_severity(db, digest, effect.severity)
                wanted[row.origin, row.rule_id] = (1, digest if digest != row.held.digest else None)
    return _replace_overlaid(db, wanted)


def _give_bases(db: Database, by_rule: Mapping[str, Sequence[Entry]], rows: Iterable[HeldRow]) -> None:
    given: set[str] = set()
    for row in rows:
        if row.is_active and row.rule_id not in given:
            given.add(row.rule_id)
            if any(e.base is None for e in by_rule[row.rule_id]):
                db.conn.execute(
                    "UPDATE overlay SET base = ? WHERE rule_id = ? AND base IS NULL",
                    [row.held.digest, row.rule_id],
                )


def _put_with_severity(db: Database, digest: str, severity: str) -> str:
    """Keep a text with another severity; returns its digest."""
    known = _derived(digest, severity)
    if known and db.conn.execute("SELECT 1 FROM rule_text WHERE digest = ?", known).fetchone():
        return known[0]
    text = text_of(db, digest)
    assert text is not None  # noqa: S101 (rows refer to kept texts only)
    derived = with_severity(text, severity)
    known[:] = [put_text(db, inspect_text(derived, profile=Profile.PUBLISHED), derived)]
    return known[0]


@functools.lru_cache(maxsize=10_000)
def _derived(digest: str, severity: str) -> list[str]:  # noqa: ARG001 (the key)
    """Where to remember what this text with this severity became: one digest always becomes the same other."""
    return []


def _replace_overlaid(db: Database, wanted: Mapping[tuple[str, str], tuple[int, str | None]]) -> bool:
    rows = db.conn.execute("SELECT origin, rule_id, served, digest FROM overlaid")
    present = {(origin, rule_id): (served, digest) for origin, rule_id, served, digest in rows}
    gone = [key for key in present if key not in wanted]
    new = [(*key, *value) for key, value in wanted.items() if present.get(key) != value]
    db.conn.executemany("DELETE FROM overlaid WHERE origin = ? AND rule_id = ?", gone)
    db.conn.executemany(
        "INSERT OR REPLACE INTO overlaid (origin, rule_id, served, digest) VALUES (?, ?, ?, ?)", new
    )
    return bool(gone or new)
