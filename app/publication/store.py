"""The SQL of publications, and the `[publication]` section of the configuration: how many are kept."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from sqlite_utils import Database

from app.http.prepared import PreparedBody
from app.http.timestamps import from_text
from app.publication.compose import Member, Ring
from app.publication.errors import NoSuchPublication
from app.publication.served_set import IndexEntry, Representation, RepresentationName, ServedRule, ServedSet


class PublicationRecord(msgspec.Struct, frozen=True):
    """One publication as the database lists it."""

    serial: int
    published_at: str
    digest: str
    total: int
    canary: int
    reason: str
    restores: int | None
    manifest: str


class Freeze(msgspec.Struct, frozen=True):
    """A rollback that keeps new publications back until an admin resumes them."""

    serial: int
    since: str
    reason: str


_RECORD = "serial, published_at, digest, total, canary, reason, restores, manifest"
_MEMBER = "rule_id, origin, digest, ring, coalesce(source, '')"


def latest(db: Database) -> PublicationRecord | None:
    """Return the newest publication, or None before the first."""
    row = db.execute(f"SELECT {_RECORD} FROM publication ORDER BY serial DESC LIMIT 1").fetchone()
    return PublicationRecord(*row) if row else None


def record(db: Database, serial: int) -> PublicationRecord:
    """One publication; raises `NoSuchPublication`."""
    row = db.execute(f"SELECT {_RECORD} FROM publication WHERE serial = ?", [serial]).fetchone()
    if row is None:
        raise NoSuchPublication(serial)
    return PublicationRecord(*row)


def newest_records(db: Database, limit: int, before: int | None) -> list[PublicationRecord]:
    """Publications from newest to oldest, those below the serial `before` when given."""
    rows = db.execute(
        f"SELECT {_RECORD} FROM publication WHERE serial < ? ORDER BY serial DESC LIMIT ?",
        [before if before is not None else 1 << 62, limit],
    )
    return [PublicationRecord(*row) for row in rows]


def effective_members(db: Database) -> list[Member]:
    """Return every rule that an origin wants served; two origins may still hold one id.

    What the organisation decided on top of upstream (`overlaid`) wins over upstream's text and over its filters.
    """
    rows = db.execute(
        "SELECT r.rule_id, r.origin, coalesce(o.digest, r.digest), r.state, r.source FROM rule r"
        " LEFT JOIN overlaid o ON o.origin = r.origin AND o.rule_id = r.rule_id"
        " WHERE r.state IN ('active', 'canary') AND coalesce(o.served, r.excluded IS NULL)"
    )
    return [
        Member(rule_id, origin, digest, "canary" if state == "canary" else "stable", source or "")
        for rule_id, origin, digest, state, source in rows
    ]


def priorities(db: Database) -> dict[str, int]:
    """`origin -> priority` of the upstreams."""
    return dict(db.execute("SELECT 'upstream:' || name, priority FROM upstream").fetchall())


def disabled(db: Database) -> set[tuple[str, str]]:
    """`(origin, rule_id)` of upstreams' rules that an overlay entry keeps out now, in whatever state they are."""
    return set(db.execute("SELECT origin, rule_id FROM overlaid WHERE NOT served").fetchall())


def published_members(db: Database, serial: int) -> list[Member]:
    """Return the set of a kept publication; raises `NoSuchPublication`."""
    record(db, serial)
    rows = db.execute(f"SELECT {_MEMBER} FROM publication_rule WHERE serial = ?", [serial])
    return [Member(*row) for row in rows]


def own_ids_in_service(db: Database) -> set[tuple[str, str]]:
    """`(origin, rule_id)` of our own rules in service: only these may a rollback serve again.

    What was quarantined or withdrawn by decision stays out, and so does a community rule under an id that it has
    given up since.
    """
    rows = db.execute(
        "SELECT origin, rule_id FROM rule WHERE state IN ('active', 'canary')"
        " AND origin NOT LIKE 'upstream:%'"
    )
    return set(rows.fetchall())


def published_instants(db: Database, serial: int) -> dict[Member, str]:
    """When each member of a publication was first published in its present form."""
    rows = db.execute(f"SELECT {_MEMBER}, published_at FROM publication_rule WHERE serial = ?", [serial])
    return {Member(*row[:-1]): row[-1] for row in rows}


def served_rules(db: Database, members: Iterable[tuple[Member, str]]) -> list[ServedRule]:
    """Return everything that the representations say of these `(member, published_at)`, in their order."""
    rules: list[ServedRule] = []
    for member, published_at in members:
        row = db.execute(
            "SELECT text, guard_text, category, severity, mitre_techniques, tags FROM rule_text"
            " WHERE digest = ?",
            [member.digest],
        ).fetchone()
        text, guard_text, category, severity, techniques, tags = row
        rules.append(
            ServedRule(
                rule_id=member.rule_id,
                text=text,
                guard_text=guard_text,
                source=member.source,
                category=category,
                severity=severity,
                mitre_techniques=techniques,
                tags=tags,
                ring=member.ring,
                published_at=published_at,
            )
        )
    return rules


def insert_publication(
    db: Database, new: PublicationRecord, members: Sequence[tuple[Member, str]], withdrawn: Iterable[str]
) -> None:
    """Keep a publication and note which ids left the set with it."""
    db.execute(f"INSERT INTO publication ({_RECORD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _astuple(new))
    db.conn.executemany(
        "INSERT INTO publication_rule (serial, rule_id, origin, digest, ring, source, published_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(new.serial, m.rule_id, m.origin, m.digest, m.ring, m.source, instant) for m, instant in members],
    )
    db.conn.executemany("DELETE FROM withdrawal WHERE rule_id = ?", [(m.rule_id,) for m, _ in members])
    db.conn.executemany(
        "INSERT OR REPLACE INTO withdrawal (rule_id, serial, withdrawn_at) VALUES (?, ?, ?)",
        [(rule_id, new.serial, new.published_at) for rule_id in withdrawn],
    )


def withdrawals(db: Database) -> list[tuple[str, str]]:
    """`(rule_id, withdrawn_at)`, oldest first."""
    return list(db.execute("SELECT rule_id, withdrawn_at FROM withdrawal ORDER BY withdrawn_at, rule_id"))


def keep_representations(db: Database, served: ServedSet) -> None:
    """Keep the representations of the newest publication alone; compressed, since every write waits for this one."""
    db.execute("DELETE FROM publication_sheet")
    db.conn.executemany(
        "INSERT INTO publication_sheet (serial, representation, ring, gzip, crc, entries) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                served.serial,
                name,
                ring,
                representation.body.gzip,
                representation.body.crc,
                msgspec.msgpack.encode([representation.etag, representation.entries]),
            )
            for (name, ring), representation in served.representations.items()
        ],
    )


def load_served_set(db: Database, newest: PublicationRecord) -> ServedSet | None:
    """Return the newest publication as it was served before a restart, or None when its representations are not kept.

    Raises `ValueError` or `msgspec.MsgspecError` when they are damaged.
    """
    rows = db.execute(
        "SELECT representation, ring, gzip, crc, entries FROM publication_sheet WHERE serial = ?",
        [newest.serial],
    ).fetchall()
    representations: dict[tuple[RepresentationName, Ring], Representation] = {}
    for name, ring, gzip, crc, packed in rows:
        etag, entries = msgspec.msgpack.decode(packed, type=tuple[str, tuple[IndexEntry, ...]])
        representations[name, ring] = Representation(PreparedBody.restore(gzip, crc), entries, etag)
    if not representations:
        return None
    instant: datetime = from_text(newest.published_at)
    return ServedSet(newest.serial, instant, newest.digest, representations, tuple(withdrawals(db)))


def forget_older(db: Database, keep: int, pinned: int | None) -> int:
    """Drop publications beyond the newest `keep`, except the one that a rollback serves; returns how many."""
    oldest = db.execute(
        "SELECT serial FROM publication ORDER BY serial DESC LIMIT 1 OFFSET ?", [keep - 1]
    ).fetchone()
    if oldest is None:
        return 0
    bounds = [oldest[0], pinned if pinned is not None else -1]
    db.execute("DELETE FROM publication_rule WHERE serial < ? AND serial != ?", bounds)
    return db.execute("DELETE FROM publication WHERE serial < ? AND serial != ?", bounds).rowcount


def freeze(db: Database) -> Freeze | None:
    """Return the rollback in force, or None."""
    row = db.execute("SELECT serial, since, reason FROM hold WHERE name = 'publication'").fetchone()
    return Freeze(*row) if row else None


def set_freeze(db: Database, new: Freeze) -> None:
    """Keep new publications back at an older set."""
    db.execute(
        "INSERT OR REPLACE INTO hold (name, serial, since, reason) VALUES ('publication', ?, ?, ?)",
        [new.serial, new.since, new.reason],
    )


def clear_freeze(db: Database) -> bool:
    """Let new publications through again; False when no rollback was in force."""
    return db.execute("DELETE FROM hold WHERE name = 'publication'").rowcount > 0


def _astuple(new: PublicationRecord) -> tuple[object, ...]:
    return tuple(getattr(new, name) for name in new.__struct_fields__)


class PublicationPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How publications are kept."""

    keep: Annotated[int, msgspec.Meta(ge=2, le=10_000)] = 200
    """How many publications to keep for `publication diff` and `rollback`; one takes about 150 bytes a rule."""
