"""The SQL of indicators: sightings by digest, what became listed, and entries of an admin.

A sighting holds no address but the HMAC of one, which only this instance can make. The address itself is stored
with the report that makes it confirmed, and deleted when it is so no more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
from sqlite_utils import Database

from app.consensus.policy import ConsensusPolicy
from app.http.paging import Page
from app.intel.indicators.model import Kind, Sighting, Weight, weigh_sightings
from app.intel.reports.reporter import Reporter
from app.intel.voters import ALWAYS_COUNTED, COLUMNS, JOIN, voter_of
from app.privacy.anonymisation import Pseudonyms


class Indicator(msgspec.Struct, frozen=True, rename="camel"):
    """A listed indicator; `reason` and `added_by` are an admin's, `reporters` counts independent identities."""

    kind: Kind
    value: str
    origin: str
    reputation: int
    category: str
    reporters: int
    reason: str | None
    added_by: str | None
    changed_at: str


INDICATOR = ", ".join(Indicator.__struct_fields__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a feed changed, and the digests (with their addresses) that are to be counted again soon."""

    changed: bool
    due: Mapping[str, str]


def note_sightings(
    db: Database,
    found: Iterable[tuple[str, str]],
    reporter: Reporter,
    hour: str,
    at: str,
    policy: ConsensusPolicy,
    pseudonyms: Pseudonyms,
) -> Outcome:
    """Record that an identity reported addresses, `(address, category)` each.

    Reports without a key are left out. `hour` is kept of the sighting, `at` of a change of the list.
    """
    changed, due = False, dict[str, str]()
    subject = reporter.subject
    if subject is None:
        return Outcome(changed, due)
    for value, category in dict(found).items():
        digest = digest_of("ip", value, pseudonyms)
        is_new = db.conn.execute(
            "INSERT INTO indicator_report (kind, digest, subject, key_id, address, category, first_at, last_at)"
            " VALUES ('ip', ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [digest, subject, reporter.key_id, reporter.address, category, hour, hour],
        ).rowcount
        if not is_new and not _seen_again(db, "ip", digest, subject, hour):
            continue
        if _sightings(db, "ip", digest) <= ALWAYS_COUNTED:
            changed |= recount_indicator(db, "ip", digest, value, at, policy)
        else:
            due[digest] = value
    return Outcome(changed, due)


def digest_of(kind: Kind, value: str, pseudonyms: Pseudonyms) -> str:
    """What stands for an address that is not confirmed."""
    return pseudonyms.fingerprint(f"indicator/{kind}", value)


def recount_indicator(
    db: Database, kind: Kind, digest: str, value: str | None, at: str, policy: ConsensusPolicy
) -> bool:
    """List an indicator, change its row or delete it, as its sightings say; True when the list changed.

    `value` is the address where the caller knows it; without one, nothing new can be listed.
    """
    weight = _weight(db, kind, digest, policy)
    row = db.conn.execute(
        "SELECT value, reputation, category, reporters FROM indicator"
        " WHERE kind = ? AND digest = ? AND origin = 'reports'",
        [kind, digest],
    ).fetchone()
    if not weight.is_confirmed:
        if row is None:
            return False
        db.conn.execute(
            "DELETE FROM indicator WHERE kind = ? AND digest = ? AND origin = 'reports'", [kind, digest]
        )
        return True
    known = value if row is None else row[0]
    wanted = (known, weight.reputation, weight.category, weight.reporters)
    if known is None or row == wanted:
        return False
    db.conn.execute(
        "INSERT OR REPLACE INTO indicator (kind, value, origin, digest, reputation, category, reporters, changed_at)"
        " VALUES (?, ?, 'reports', ?, ?, ?, ?, ?)",
        [kind, known, digest, weight.reputation, weight.category, weight.reporters, at],
    )
    return True


def _seen_again(db: Database, kind: Kind, digest: str, subject: str, hour: str) -> bool:
    """Note that an identity reported it again; False when it did so in this hour already."""
    return bool(
        db.conn.execute(
            "UPDATE indicator_report SET last_at = ? WHERE kind = ? AND digest = ? AND subject = ? AND last_at < ?",
            [hour, kind, digest, subject, hour],
        ).rowcount
    )


def _sightings(db: Database, kind: Kind, digest: str) -> int:
    """How many sightings there are, up to one more than are always counted."""
    (found,) = db.conn.execute(
        "SELECT count(*) FROM (SELECT 1 FROM indicator_report WHERE kind = ? AND digest = ? LIMIT ?)",
        [kind, digest, ALWAYS_COUNTED + 1],
    ).fetchone()
    return int(found)


def _weight(db: Database, kind: Kind, digest: str, policy: ConsensusPolicy) -> Weight:
    rows = db.conn.execute(
        f"SELECT {COLUMNS}, v.category FROM indicator_report v {JOIN}"
        " WHERE v.kind = ? AND v.digest = ? ORDER BY v.id",
        [kind, digest],
    )
    return weigh_sightings([Sighting(voter_of(row), row[6]) for row in rows], policy)


def listed_digests(db: Database) -> list[tuple[Kind, str]]:
    """What reports have listed, for counting it again."""
    return list(db.conn.execute("SELECT kind, digest FROM indicator WHERE origin = 'reports'"))


def digests_of(db: Database, subject: str) -> list[tuple[Kind, str]]:
    """What an identity has reported."""
    return list(db.conn.execute("SELECT kind, digest FROM indicator_report WHERE subject = ?", [subject]))


def put_entry(
    db: Database,
    kind: Kind,
    value: str,
    *,
    digest: str,
    reputation: int,
    category: str,
    reason: str | None,
    added_by: str,
    at: str,
) -> Indicator:
    """Add or replace an admin's entry."""
    db.conn.execute(
        "INSERT OR REPLACE INTO indicator (kind, value, origin, digest, reputation, category, reporters, reason,"
        " added_by, changed_at) VALUES (?, ?, 'admin', ?, ?, ?, 0, ?, ?, ?)",
        [kind, value, digest, reputation, category, reason, added_by, at],
    )
    return Indicator(kind, value, "admin", reputation, category, 0, reason, added_by, at)


def delete_indicator(db: Database, kind: Kind, value: str, digest: str) -> tuple[int, int]:
    """Take a value off its list: an admin's entry, what reports say of it, and every sighting of it.

    Returns how many rows of the list and how many sightings went.
    """
    rows = db.conn.execute("DELETE FROM indicator WHERE kind = ? AND value = ?", [kind, value]).rowcount
    sightings = db.conn.execute(
        "DELETE FROM indicator_report WHERE kind = ? AND digest = ?", [kind, digest]
    ).rowcount
    return rows, sightings


def list_indicators(
    db: Database, page: Page, kind: str | None = None, origin: str | None = None
) -> list[Indicator]:
    """The list by kind, value and origin: up to one more than `page.limit`, which tells of a next page."""
    conditions, values = ["1"], list[object]()
    for name, wanted in (("kind", kind), ("origin", origin)):
        if wanted is not None:
            conditions.append(f"{name} = ?")
            values.append(wanted)
    if page.after is not None:
        conditions.append("(kind, value, origin) > (?, ?, ?)")
        values.extend(page.after)
    rows = db.conn.execute(
        f"SELECT {INDICATOR} FROM indicator WHERE {' AND '.join(conditions)}"
        " ORDER BY kind, value, origin LIMIT ?",
        [*values, page.limit + 1],
    )
    return [Indicator(*row) for row in rows]


def all_indicators(db: Database) -> list[Indicator]:
    """The whole list, for building the feeds."""
    rows = db.conn.execute(f"SELECT {INDICATOR} FROM indicator ORDER BY kind, value, origin")
    return [Indicator(*row) for row in rows]
