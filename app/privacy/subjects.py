"""Everything tied to one client: to hand it over, and to delete it.

Kept in any case are the key records (they decide whether a key is valid, and name nobody but the client itself) and
the audit log (nothing can be deleted from it); the answer says how many of each there are. To end a client for
good, revoke its keys too.
"""

from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from app.access import audit
from app.access.principal import Actor
from app.consensus.machine import Event
from app.consensus.policy import ConsensusPolicy
from app.consensus.store import load_case, move
from app.fleet.store import erase_agent, export_agent
from app.http.timestamps import to_text
from app.intel.indicators.store import digests_of
from app.intel.recount import recount_indicators, recount_skills
from app.intel.skills.store import names_of
from app.intel.skills.versions_store import erase_versions, export_versions
from app.intel.telemetry.store import erase_tools, export_tools

TABLES = {
    "confirmations": "confirmation",
    "feedback": "feedback",
    "threats": "threat",
    "sealed": "sealed",
    "skillThreats": "skill_threat",
    "skillVotes": "skill_trust",
    "indicatorReports": "indicator_report",
}
"""Class of data -> table with a `subject`. An indicator report holds no address but the HMAC of one."""


@dataclass(frozen=True, slots=True)
class Erased:
    """How many rows of each class are gone, and how many of what cannot be deleted are left."""

    erased: dict[str, int]
    kept: dict[str, int]


def export_subject(db: Database, subject: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every class, as it is stored; a class without one is left out. Empty for nobody known."""
    found = {"keys": _rows(db, "key", subject)}
    found |= {name: _rows(db, table, subject) for name, table in TABLES.items()}
    found["fleet"] = export_agent(db, subject)
    found["skillVersions"] = export_versions(db, subject)
    found |= export_tools(db, subject)
    return {name: rows for name, rows in found.items() if rows}


def erase_subject(db: Database, subject: str, actor: Actor, policy: ConsensusPolicy) -> Erased:
    """Delete all of that, and count again what rested on it; audited. What was promoted stays promoted.

    Votes go too, so an undecided proposal or a listed skill may fall below its threshold.
    """
    at = to_text(actor.at)
    proposals = _open_proposals(db, subject)
    names, digests = names_of(db, subject), digests_of(db, subject)
    erased = {name: _delete(db, table, subject) for name, table in TABLES.items()}
    erased |= {
        "fleet": erase_agent(db, subject),
        "skillVersions": erase_versions(db, subject),
        "tools": erase_tools(db, subject),
    }
    for pattern_hash in proposals:
        move(db, load_case(db, pattern_hash, policy), Event.TICK, at)
    recount_skills(db, names, at, policy)
    recount_indicators(db, digests, at, policy)
    gone = {name: rows for name, rows in erased.items() if rows}
    audit.append(
        db,
        at=actor.at,
        actor=actor.name,
        action="subject.erase",
        target=subject,
        detail={"erased": gone},
        address=actor.address,
    )
    return Erased(gone, _kept(db, subject))


def _rows(db: Database, table: str, subject: str) -> list[dict[str, Any]]:
    found = db.conn.execute(f"SELECT * FROM {table} WHERE subject = ?", [subject])  # noqa: S608 (our own names)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def _delete(db: Database, table: str, subject: str) -> int:
    return db.conn.execute(f"DELETE FROM {table} WHERE subject = ?", [subject]).rowcount  # noqa: S608


def _open_proposals(db: Database, subject: str) -> list[str]:
    """Undecided ones that the identity confirmed; one in canary is counted again by the next cycle."""
    rows = db.conn.execute(
        "SELECT p.pattern_hash FROM confirmation c JOIN proposal p ON p.pattern_hash = c.pattern_hash"
        " WHERE c.subject = ? AND p.status IN ('draft', 'pending', 'confirmed')",
        [subject],
    )
    return [pattern_hash for (pattern_hash,) in rows]


def _kept(db: Database, subject: str) -> dict[str, int]:
    (keys,) = db.conn.execute("SELECT count(*) FROM key WHERE subject = ?", [subject]).fetchone()
    (entries,) = db.conn.execute(
        "SELECT count(*) FROM audit WHERE actor = ? OR substr(actor, 1, length(?) + 2) = ? || ' ('",
        [subject] * 3,
    ).fetchone()
    return {"keys": keys, "auditEntries": entries}
