"""The store of upstream versions: what an upstream offered, state by state, kept while it is used or recent."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlite_utils import Database

from app.federation.decide import TextRef
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


class UpstreamVersion(msgspec.Struct, frozen=True, rename="camel"):
    """One state of an upstream as people see it; `label` is what upstream called it last."""

    id: int
    label: str
    digest: str
    total: int
    first_seen: str
    last_seen: str
    in_use: bool


def set_digest(rules: Mapping[str, TextRef]) -> str:
    """Return the SHA-256 (hex) that names a state: equal exactly when every id, text and source is equal."""
    lines = sorted(f"{rule_id}\t{text.digest}\t{text.source}\n" for rule_id, text in rules.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def rules_of(db: Database, version: int | None) -> dict[str, TextRef]:
    """Return `rule_id -> text` of a version; nothing for None."""
    rows = db.execute("SELECT rule_id, digest, source FROM upstream_rule WHERE version = ?", [version])
    return {rule_id: TextRef(digest, source) for rule_id, digest, source in rows}


def record_version(db: Database, upstream: str, label: str, rules: Mapping[str, TextRef], at: str) -> int:
    """Record what the upstream offers; return the id of the version, a new one if it differs from the newest."""
    digest = set_digest(rules)
    versions = db.table("upstream_version")
    newest = next(versions.rows_where("upstream = ?", [upstream], order_by="id DESC", limit=1), None)
    if newest is not None and newest["digest"] == digest:
        record_seen(db, upstream, label, at)
        return int(newest["id"])
    row = {
        "upstream": upstream,
        "label": label,
        "digest": digest,
        "total": len(rules),
        "first_seen": at,
        "last_seen": at,
    }
    version: Any = versions.insert(row).last_pk
    # Thousands of rows: one prepared statement.
    db.conn.executemany(
        "INSERT INTO upstream_rule (version, rule_id, digest, source) VALUES (?, ?, ?, ?)",
        [(version, rule_id, *text) for rule_id, text in sorted(rules.items())],
    )
    return int(version)


def record_seen(db: Database, upstream: str, label: str, at: str) -> None:
    """Record that the newest version was seen again, under this label (an empty one changes none)."""
    db.execute(
        "UPDATE upstream_version SET last_seen = :at, label = CASE WHEN :label = '' THEN label ELSE :label END"
        " WHERE id = (SELECT max(id) FROM upstream_version WHERE upstream = :upstream)",
        {"at": at, "label": label, "upstream": upstream},
    )


def move_up(db: Database, origin: str, version: int) -> None:
    """Move rules in service whose very text is in this version up to it, from the older one that brought the text."""
    db.execute(
        "UPDATE rule SET version = :version WHERE origin = :origin AND state = 'active' AND EXISTS ("
        "SELECT 1 FROM upstream_rule u WHERE u.version = :version AND u.rule_id = rule.rule_id"
        " AND u.digest = rule.digest)",
        {"version": version, "origin": origin},
    )


def list_versions(db: Database, upstream: str, page: Page) -> list[UpstreamVersion]:
    """List versions of an upstream, newest first, one more than `page.limit` when there is a next page."""
    rows = db.execute(
        f"SELECT id, label, digest, total, first_seen, last_seen, id IN ({_IN_USE}) FROM upstream_version"
        " WHERE upstream = ? AND id < CAST(? AS INTEGER) ORDER BY id DESC LIMIT ?",
        [upstream, page.after[0] if page.after else str(1 << 62), page.limit + 1],
    )
    return [UpstreamVersion(*[*row[:6], bool(row[6])]) for row in rows]


def drop_unused_versions(db: Database, upstream: str, keep: int) -> int:
    """Drop versions beyond the newest `keep` that nothing uses; return how many.

    In use is what a rule in service, a held change or the upstream itself names. A withdrawn rule only loses the
    name of its version.
    """
    unused = db.execute(
        f"SELECT id FROM upstream_version WHERE upstream = ? AND id NOT IN ({_IN_USE})"
        " AND id NOT IN (SELECT id FROM upstream_version WHERE upstream = ? ORDER BY id DESC LIMIT ?)",
        [upstream, upstream, keep],
    ).fetchall()
    for (version,) in unused:
        db.execute("UPDATE rule SET version = NULL WHERE version = ?", [version])
        db.execute("DELETE FROM upstream_rule WHERE version = ?", [version])
        db.execute("DELETE FROM upstream_version WHERE id = ?", [version])
    return len(unused)


def unused_texts(db: Database) -> list[str]:
    """Return the digests of texts that no rule, publication, version, held change or overlay entry refers to."""
    return [row[0] for row in db.execute(f"SELECT digest FROM rule_text AS t WHERE {_UNUSED}")]


def drop_texts(db: Database, digests: Sequence[str]) -> int:
    """Drop those of these texts (at most `STEP`) that are still unused; return how many."""
    places = ", ".join("?" * len(digests))
    return db.execute(
        f"DELETE FROM rule_text AS t WHERE t.digest IN ({places}) AND {_UNUSED}",
        list(digests),
    ).rowcount
