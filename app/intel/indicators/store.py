"""The SQL of indicators: sightings by digest, what became listed, and entries of an admin.

A sighting holds no address but the HMAC of one, which only this instance can make. The address itself is stored
with the report that confirms it, and deleted when it is no longer confirmed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
from sqlite_utils import Database

from app.consensus.policy import ConsensusPolicy
from app.http.paging import Page
from app.intel.indicators.model import Aggregate, IndicatorKind, Sighting, aggregate
from app.intel.reporter import Reporter
from app.intel.voters_store import ALWAYS_COUNTED, COLUMNS, JOIN, voter_of
from app.privacy.anonymisation import Pseudonyms
from app.privacy.personal_data import Expiry, PersonalData
from app.privacy.store import PURGE_BATCH, delete_rows_of_subject, rows_of_subject


class Indicator(msgspec.Struct, frozen=True, rename="camel"):
    """A listed indicator; `reason` and `added_by` are an admin's, `reporters` counts independent identities."""

    kind: IndicatorKind
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
class RecordedSightings:
    """Whether a feed changed, and the digests (with their addresses) that a job must count."""

    changed: bool
    due: Mapping[str, str]


def record_sightings(
    db: Database,
    found: Iterable[tuple[str, str]],
    reporter: Reporter,
    hour: str,
    at: str,
    policy: ConsensusPolicy,
    pseudonyms: Pseudonyms,
) -> RecordedSightings:
    """Record that an identity reported addresses, `(address, category)` each.

    Reports without a key are left out. `hour` is the time kept of the sighting, `at` that of a change of the list.
    """
    changed, due = False, dict[str, str]()
    subject = reporter.subject
    if subject is None:
        return RecordedSightings(changed, due)
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
    return RecordedSightings(changed, due)


def digest_of(kind: IndicatorKind, value: str, pseudonyms: Pseudonyms) -> str:
    """Return the HMAC that stands for a value in sightings."""
    return pseudonyms.fingerprint(f"indicator/{kind}", value)


def recount_indicator(
    db: Database, kind: IndicatorKind, digest: str, value: str | None, at: str, policy: ConsensusPolicy
) -> bool:
    """List an indicator, change its row or delete it, as its sightings say; return True when the list changed.

    `value` is the address where the caller knows it; without one, nothing new can be listed.
    """
    found = _aggregate(db, kind, digest, policy)
    row = db.conn.execute(
        "SELECT value, reputation, category, reporters FROM indicator"
        " WHERE kind = ? AND digest = ? AND origin = 'reports'",
        [kind, digest],
    ).fetchone()
    if not found.is_confirmed:
        if row is None:
            return False
        db.conn.execute(
            "DELETE FROM indicator WHERE kind = ? AND digest = ? AND origin = 'reports'", [kind, digest]
        )
        return True
    known = value if row is None else row[0]
    wanted = (known, found.reputation, found.category, found.reporters)
    if known is None or row == wanted:
        return False
    db.conn.execute(
        "INSERT OR REPLACE INTO indicator (kind, value, origin, digest, reputation, category, reporters, changed_at)"
        " VALUES (?, ?, 'reports', ?, ?, ?, ?, ?)",
        [kind, known, digest, found.reputation, found.category, found.reporters, at],
    )
    return True


def recount_indicators(
    db: Database, digests: Iterable[tuple[IndicatorKind, str]], at: str, policy: ConsensusPolicy
) -> int:
    """Recompute listed indicators; return how many changed. None is newly listed, as no address is known here."""
    return sum(recount_indicator(db, kind, digest, None, at, policy) for kind, digest in digests)


def _seen_again(db: Database, kind: IndicatorKind, digest: str, subject: str, hour: str) -> bool:
    """Record that an identity reported it again; return False when it did so in this hour already."""
    return bool(
        db.conn.execute(
            "UPDATE indicator_report SET last_at = ? WHERE kind = ? AND digest = ? AND subject = ? AND last_at < ?",
            [hour, kind, digest, subject, hour],
        ).rowcount
    )


def _sightings(db: Database, kind: IndicatorKind, digest: str) -> int:
    """Return how many sightings there are, up to one more than are always counted."""
    (found,) = db.conn.execute(
        "SELECT count(*) FROM (SELECT 1 FROM indicator_report WHERE kind = ? AND digest = ? LIMIT ?)",
        [kind, digest, ALWAYS_COUNTED + 1],
    ).fetchone()
    return int(found)


def _aggregate(db: Database, kind: IndicatorKind, digest: str, policy: ConsensusPolicy) -> Aggregate:
    rows = db.conn.execute(
        f"SELECT {COLUMNS}, v.category FROM indicator_report v {JOIN}"
        " WHERE v.kind = ? AND v.digest = ? ORDER BY v.id",
        [kind, digest],
    )
    return aggregate([Sighting(voter_of(row), row[6]) for row in rows], policy)


def listed_digests(db: Database) -> list[tuple[IndicatorKind, str]]:
    """Return kind and digest of everything that reports have listed."""
    return list(db.conn.execute("SELECT kind, digest FROM indicator WHERE origin = 'reports'"))


def digests_of(db: Database, subject: str) -> list[tuple[IndicatorKind, str]]:
    """Return kind and digest of everything that an identity has reported."""
    return list(db.conn.execute("SELECT kind, digest FROM indicator_report WHERE subject = ?", [subject]))


def put_entry(
    db: Database,
    kind: IndicatorKind,
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
    entry = Indicator(kind, value, "admin", reputation, category, 0, reason, added_by, at)
    db.table("indicator").insert({**msgspec.structs.asdict(entry), "digest": digest}, replace=True)
    return entry


def delete_indicator(db: Database, kind: IndicatorKind, value: str, digest: str) -> tuple[int, int]:
    """Take a value off its list: an admin's entry, what reports say of it, and every sighting of it.

    Return how many rows of the list and how many sightings went.
    """
    rows = db.conn.execute("DELETE FROM indicator WHERE kind = ? AND value = ?", [kind, value]).rowcount
    sightings = db.conn.execute(
        "DELETE FROM indicator_report WHERE kind = ? AND digest = ?", [kind, digest]
    ).rowcount
    return rows, sightings


def list_indicators(
    db: Database, page: Page, kind: str | None = None, origin: str | None = None
) -> list[Indicator]:
    """Return the list by kind, value and origin: up to one more than `page.limit`, if there are more."""
    conditions, values = ["1"], list[object]()
    for name, wanted in (("kind", kind), ("origin", origin)):
        if wanted is not None:
            conditions.append(f"{name} = ?")
            values.append(wanted)
    if page.after is not None:
        conditions.append("(kind, value, origin) > (?, ?, ?)")
        values.extend(page.after)
    rows = db.query(
        f"SELECT {INDICATOR} FROM indicator WHERE {' AND '.join(conditions)}"
        " ORDER BY kind, value, origin LIMIT ?",
        [*values, page.limit + 1],
    )
    return [Indicator(**row) for row in rows]


def all_indicators(db: Database) -> list[Indicator]:
    """Return the whole list, for rendering the feeds."""
    rows = db.conn.execute(f"SELECT {INDICATOR} FROM indicator ORDER BY kind, value, origin")
    return [Indicator(*row) for row in rows]


def indicator_data(policy: ConsensusPolicy) -> PersonalData:
    """Return what is kept of clients: their sightings, which hold no address but the HMAC of one."""

    def erase(db: Database, subject: str, at: str) -> dict[str, int]:
        digests = digests_of(db, subject)
        erased = delete_rows_of_subject(db, "indicator_report", subject)
        recount_indicators(db, digests, at, policy)
        return {"indicatorReports": erased}

    def purge(db: Database, before: str, at: str) -> int:
        rows = db.conn.execute(
            f"SELECT id, kind, digest FROM indicator_report WHERE last_at < ? LIMIT {PURGE_BATCH}", [before]
        ).fetchall()
        db.conn.executemany("DELETE FROM indicator_report WHERE id = ?", [(row_id,) for row_id, _, _ in rows])
        recount_indicators(db, sorted({(kind, digest) for _, kind, digest in rows}), at, policy)
        return len(rows)

    return PersonalData(
        export=lambda db, subject: {"indicatorReports": rows_of_subject(db, "indicator_report", subject)},
        erase=erase,
        expiries=(Expiry("indicators", lambda retention: retention.indicators_days, purge),),
    )
