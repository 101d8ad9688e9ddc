"""The SQL of upstream versions: what an upstream offered, state by state, kept while it is used or recent."""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
from sqlite_utils import Database

from app.federation.decide import Text
from app.http.paging import Page

KEEP = 20
"""Versions of an upstream that are kept besides those in use."""

STEP = 200
"""Texts dropped in one transaction, so that the writer is never busy for long."""

_IN_USE = (
    "SELECT version FROM rule WHERE version IS NOT NULL AND state != 'withdrawn'"
    " UNION SELECT version FROM held_change WHERE version IS NOT NULL"
    " UNION SELECT version FROM upstream WHERE version IS NOT NULL"
)

_UNUSED = """
    NOT EXISTS (SELECT 1 FROM rule WHERE digest = t.digest)
    AND NOT EXISTS (SELECT 1 FROM publication_rule WHERE digest = t.digest)
    AND NOT EXISTS (SELECT 1 FROM upstream_rule WHERE digest = t.digest)
    AND t.digest NOT IN (
        SELECT digest FROM held_change WHERE digest IS NOT NULL
        UNION SELECT digest FROM overlay WHERE digest IS NOT NULL
        UNION SELECT base FROM overlay WHERE base IS NOT NULL
        UNION SELECT digest FROM overlaid WHERE digest IS NOT NULL
    )
"""
"""Every table that refers to a text is in this; foreign keys refuse a deletion that it would miss."""


class ShownVersion(msgspec.Struct, frozen=True, rename="camel"):
    """One state of an upstream as people see it; `label` is what upstream called it last."""

    id: int
    label: str
    digest: str
    total: int
    first_seen: str
    last_seen: str
    in_use: bool


def set_digest(rules: Mapping[str, Text]) -> str:
    """SHA-256 (hex) that names a state: equal exactly when every id, text and source is equal."""
    lines = sorted(f"{rule_id}\t{text.digest}\t{text.source}\n" for rule_id, text in rules.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def rules_of(db: Database, version: int | None) -> dict[str, Text]:
    """`rule_id -> text` of a version; nothing for None."""
    rows = db.conn.execute("SELECT rule_id, digest, source FROM upstream_rule WHERE version = ?", [version])
    return {rule_id: Text(digest, source) for rule_id, digest, source in rows}


def note(db: Database, upstream: str, label: str, rules: Mapping[str, Text], at: str) -> int:
    """Record what the upstream offers; returns the id of the version, a new one if it differs from the newest."""
    digest = set_digest(rules)
    newest = db.conn.execute(
        "SELECT id, digest FROM upstream_version WHERE upstream = ? ORDER BY id DESC LIMIT 1", [upstream]
    ).fetchone()
    if newest is not None and newest[1] == digest:
        touch(db, upstream, label, at)
        return int(newest[0])
    version: int = db.conn.execute(
        "INSERT INTO upstream_version (upstream, label, digest, total, first_seen, last_seen)"
        " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        [upstream, label, digest, len(rules), at, at],
    ).fetchone()[0]
    db.conn.executemany(
        "INSERT INTO upstream_rule (version, rule_id, digest, source) VALUES (?, ?, ?, ?)",
        [(version, rule_id, *text) for rule_id, text in sorted(rules.items())],
    )
    return version


def touch(db: Database, upstream: str, label: str, at: str) -> None:
    """Record that the newest version was seen again, under this label (an empty one changes none)."""
    db.conn.execute(
        "UPDATE upstream_version SET last_seen = ?, label = CASE WHEN ? = '' THEN label ELSE ? END"
        " WHERE id = (SELECT max(id) FROM upstream_version WHERE upstream = ?)",
        [at, label, label, upstream],
    )


def bring_up(db: Database, origin: str, version: int) -> None:
    """Move rules in service whose very text is in this version up to it, from the older one that brought the text."""
    db.conn.execute(
        "UPDATE rule SET version = :version WHERE origin = :origin AND state = 'active' AND EXISTS ("
        "SELECT 1 FROM upstream_rule u WHERE u.version = :version AND u.rule_id = rule.rule_id"
        " AND u.digest = rule.digest)",
        {"version": version, "origin": origin},
    )


def list_versions(db: Database, upstream: str, page: Page) -> list[ShownVersion]:
    """Versions of an upstream, newest first, one more than `page.limit` when there is a next page."""
    rows = db.conn.execute(
        f"SELECT id, label, digest, total, first_seen, last_seen, id IN ({_IN_USE}) FROM upstream_version"  # noqa: S608
        " WHERE upstream = ? AND id < CAST(? AS INTEGER) ORDER BY id DESC LIMIT ?",
        [upstream, page.after[0] if page.after else str(1 << 62), page.limit + 1],
    )
    return [ShownVersion(*[*row[:6], bool(row[6])]) for row in rows]


def forget(db: Database, upstream: str, keep: int) -> int:
    """Drop versions beyond the newest `keep` that nothing uses; returns how many.

    In use is what a rule in service, a held change or the upstream itself names. A withdrawn rule only loses the
    name of its version.
    """
    dropped = [
        row[0]
        for row in db.conn.execute(
            f"SELECT id FROM upstream_version WHERE upstream = ? AND id NOT IN ({_IN_USE})"  # noqa: S608
            " AND id NOT IN (SELECT id FROM upstream_version WHERE upstream = ? ORDER BY id DESC LIMIT ?)",
            [upstream, upstream, keep],
        )
    ]
    for version in dropped:
        db.conn.execute("UPDATE rule SET version = NULL WHERE version = ?", [version])
        db.conn.execute("DELETE FROM upstream_rule WHERE version = ?", [version])
        db.conn.execute("DELETE FROM upstream_version WHERE id = ?", [version])
    return len(dropped)


def unused_texts(db: Database) -> list[str]:
    """Digests of texts that no rule, publication, version, held change or overlay entry refers to."""
    return [row[0] for row in db.conn.execute(f"SELECT digest FROM rule_text AS t WHERE {_UNUSED}")]  # noqa: S608


def drop_texts(db: Database, digests: Sequence[str]) -> int:
    """Drop those of these texts (at most `STEP`) that are unused still; returns how many."""
    marks = ", ".join("?" * len(digests))
    return db.conn.execute(
        f"DELETE FROM rule_text AS t WHERE t.digest IN ({marks}) AND {_UNUSED}",  # noqa: S608 (constants)
        list(digests),
    ).rowcount
