"""Deleting what is older than `[retention]` says, and counting again what the lists rested on."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlite_utils import Database

from app.access import audit_store
from app.consensus.policy import ConsensusPolicy
from app.fleet.store import purge_agents
from app.http.timestamps import to_text
from app.intel.indicators.store import recount_indicator
from app.intel.policy import RetentionPolicy
from app.intel.recount import recount_skills
from app.intel.skills.versions_store import purge_versions
from app.intel.telemetry.store import purge_tools
from app.storage import Storage

AUTOMATIC = "retention"
"""How the audit log names what is deleted for its age."""

_BATCH = 2000
"""Rows deleted in one transaction: reports are answered between two of them."""

Purge = Callable[[Database, str, str, ConsensusPolicy], int]
"""Delete a batch of what is older than the first instant, at the second; returns how many rows, 0 when done."""


@dataclass(frozen=True, slots=True)
class DataClass:
    """A class of data: for how many days it is kept, and how old rows of it go."""

    name: str
    days: Callable[[RetentionPolicy], int]
    purge: Purge


async def purge(
    storage: Storage, retention: RetentionPolicy, policy: ConsensusPolicy, now: datetime
) -> dict[str, int]:
    """Delete what is too old, class by class; returns how many rows of each went, and audits that."""
    gone: dict[str, int] = {}
    for kind in CLASSES:
        before = to_text(now - timedelta(days=kind.days(retention)))
        deleted = 0
        while batch := await storage.write(_bound(kind.purge, before, to_text(now), policy)):
            deleted += batch
        if deleted:
            gone[kind.name] = deleted
    if gone:
        await storage.write(
            lambda db: audit_store.append(db, at=now, actor=AUTOMATIC, action="retention.purge", detail=gone)
        )
    return gone


def _bound(act: Purge, before: str, at: str, policy: ConsensusPolicy) -> Callable[[Database], int]:
    return lambda db: act(db, before, at, policy)


def _old_rows(table: str, column: str) -> Purge:
    def act(db: Database, before: str, _at: str, _policy: ConsensusPolicy) -> int:
        return db.conn.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {column} < ? LIMIT {_BATCH})",  # noqa: S608
            [before],
        ).rowcount

    return act


def _old_skills(table: str) -> Purge:
    """Reports or votes, with the skills that they were about counted again."""

    def act(db: Database, before: str, at: str, policy: ConsensusPolicy) -> int:
        rows = db.conn.execute(
            f"SELECT id, name FROM {table} WHERE last_at < ? LIMIT {_BATCH}",  # noqa: S608 (our own names)
            [before],
        ).fetchall()
        db.conn.executemany(f"DELETE FROM {table} WHERE id = ?", [(row_id,) for row_id, _ in rows])  # noqa: S608
        recount_skills(db, sorted({name for _, name in rows}), at, policy)
        return len(rows)

    return act


def _old_sightings(db: Database, before: str, at: str, policy: ConsensusPolicy) -> int:
    rows = db.conn.execute(
        f"SELECT id, kind, digest FROM indicator_report WHERE last_at < ? LIMIT {_BATCH}",  # noqa: S608
        [before],
    ).fetchall()
    db.conn.executemany("DELETE FROM indicator_report WHERE id = ?", [(row_id,) for row_id, _, _ in rows])
    for kind, digest in sorted({(kind, digest) for _, kind, digest in rows}):
        recount_indicator(db, kind, digest, None, at, policy)
    return len(rows)


def _old_counts(db: Database, before: str, _at: str, _policy: ConsensusPolicy) -> int:
    return db.conn.execute("DELETE FROM report_tally WHERE hour < ?", [before]).rowcount


def _plain(act: Callable[[Database, str], int]) -> Purge:
    return lambda db, before, _at, _policy: act(db, before)


CLASSES = (
    DataClass("indicators", lambda policy: policy.indicators_days, _old_sightings),
    DataClass("threats", lambda policy: policy.threats_days, _old_rows("threat", "received")),
    DataClass("sealed", lambda policy: policy.sealed_days, _old_rows("sealed", "received")),
    DataClass("skillThreats", lambda policy: policy.skills_days, _old_skills("skill_threat")),
    DataClass("skillVotes", lambda policy: policy.skills_days, _old_skills("skill_trust")),
    DataClass("fleet", lambda policy: policy.fleet_days, _plain(purge_agents)),
    DataClass("tools", lambda policy: policy.fleet_days, _plain(purge_tools)),
    DataClass("skillVersions", lambda policy: policy.skills_days, _plain(purge_versions)),
    DataClass("counts", lambda policy: policy.counts_days, _old_counts),
)
