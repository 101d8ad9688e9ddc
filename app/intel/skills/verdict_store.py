"""The SQL of verdicts: one row for each skill (table `skill_standing`), so that building a list reads no votes.

A verdict is the aggregate of the reports on a skill and the votes for it; `app.intel.skills.verdict` computes it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from app.consensus.policy import ConsensusPolicy
from app.intel.skills.served import Skill
from app.intel.skills.verdict import Report, Risk, TrustVote, risk_of, trust_of
from app.intel.voters_store import COLUMNS, JOIN, voter_of

_TABLES = ("skill_threat", "skill_trust")
VERDICT = (
    "name, reported_as, trusted_as, skill_hash, reporters, average_risk, top_level, first_reported,"
    " last_reported, confirmations, fingerprint, is_trusted, is_disputed, first_trusted, last_trusted"
)


def recount_skill(db: Database, name: str, at: str, policy: ConsensusPolicy) -> bool:
    """Recompute the verdict of a skill; return True when it changed."""
    return keep_verdict(db, name, _verdict(db, name, policy), at)


@dataclass(frozen=True, slots=True)
class Counted:
    """The verdict of a skill (`row` of `skill_standing`; None: nothing is known), and what it was computed from.

    `extent` holds for each table of votes the highest id that was counted, and how many rows there are up to it.
    """

    name: str
    row: tuple[Any, ...] | None
    extent: tuple[tuple[int, int], ...]


def count_skill(db: Database, name: str, policy: ConsensusPolicy) -> Counted:
    """Compute a verdict without writing: a whole fleet's votes take a while, and no write has to wait for it."""
    extent = tuple(_extent(db, table, name) for table in _TABLES)
    return Counted(name, _verdict(db, name, policy), extent)


def is_still_there(db: Database, counted: Counted) -> bool:
    """Return True when nothing that was counted has been deleted since.

    What was added or changed since is due for counting again in any case.
    """
    return all(
        _extent(db, table, counted.name, highest) == (highest, rows)
        for table, (highest, rows) in zip(_TABLES, counted.extent, strict=True)
    )


def keep_verdict(db: Database, name: str, row: tuple[Any, ...] | None, at: str) -> bool:
    """Keep a verdict (`row` as in `Counted`); return True when it changed."""
    before = db.conn.execute(f"SELECT {VERDICT} FROM skill_standing WHERE name = ?", [name]).fetchone()
    if row is None:
        db.conn.execute("DELETE FROM skill_standing WHERE name = ?", [name])
        return before is not None
    if before == row:
        return False
    placeholders = ", ".join("?" * (len(row) + 1))
    db.conn.execute(
        f"INSERT OR REPLACE INTO skill_standing ({VERDICT}, changed_at) VALUES ({placeholders})",
        [*row, at],
    )
    return True


def _verdict(db: Database, name: str, policy: ConsensusPolicy) -> tuple[Any, ...] | None:
    risk = risk_of(reports_on(db, name), policy)
    trust = trust_of(trust_votes_on(db, name), policy)
    (first_reported, last_reported), (first_trusted, last_trusted) = (
        db.conn.execute(
            f"SELECT min(first_at), max(last_at) FROM {table} WHERE name = ? AND subject <> ''",
            [name],
        ).fetchone()
        for table in _TABLES
    )
    if first_reported is None and first_trusted is None:
        return None
    return (
        name,
        risk.display,
        trust.display,
        risk.skill_hash,
        risk.reporters,
        risk.average,
        risk.top_level,
        first_reported,
        last_reported,
        trust.confirmations,
        trust.fingerprint,
        int(trust.is_trusted),
        int(trust.is_disputed),
        first_trusted,
        last_trusted,
    )


def reports_on(db: Database, name: str) -> list[Report]:
    """Return what identities report of a skill, in order of time."""
    rows = db.conn.execute(
        f"SELECT {COLUMNS}, v.display, v.skill_hash, v.risk_score, v.risk_level"
        f" FROM skill_threat v {JOIN} WHERE v.name = ? AND v.subject <> '' ORDER BY v.id",
        [name],
    )
    return [Report(voter_of(row), *row[6:]) for row in rows]


def trust_votes_on(db: Database, name: str) -> list[TrustVote]:
    """Return the votes for a skill, in order of time."""
    rows = db.conn.execute(
        f"SELECT {COLUMNS}, v.display, v.fingerprint FROM skill_trust v {JOIN}"
        " WHERE v.name = ? ORDER BY v.id",
        [name],
    )
    return [TrustVote(voter_of(row), *row[6:]) for row in rows]


def recount_skills(db: Database, names: Iterable[str], at: str, policy: ConsensusPolicy) -> int:
    """Recompute the verdicts of these skills; return how many changed."""
    return sum(recount_skill(db, name, at, policy) for name in names)


def all_names(db: Database) -> list[str]:
    """Return the names of all skills with a verdict."""
    return [name for (name,) in db.conn.execute("SELECT name FROM skill_standing ORDER BY name")]


def load_skills(db: Database) -> list[Skill]:
    """Return every skill that an admin, a report or a vote names, by name."""
    rows = db.conn.execute(
        "WITH named AS (SELECT name FROM skill_standing UNION SELECT name FROM skill_entry)"
        " SELECT n.name, coalesce(b.display, s.reported_as), coalesce(w.display, s.trusted_as),"
        " s.reporters, s.average_risk, s.top_level, s.skill_hash, s.first_reported, s.last_reported,"
        " s.confirmations, s.fingerprint, s.is_trusted, s.is_disputed, s.first_trusted,"
        " s.last_trusted, b.at, b.hash, w.at, w.hash,"
        " max(coalesce(s.changed_at, ''), coalesce(b.at, ''), coalesce(w.at, ''))"
        " FROM named n LEFT JOIN skill_standing s ON s.name = n.name"
        " LEFT JOIN skill_entry b ON b.list = 'black' AND b.name = n.name"
        " LEFT JOIN skill_entry w ON w.list = 'white' AND w.name = n.name ORDER BY n.name"
    )
    return [_skill(row) for row in rows]


def _skill(row: tuple[Any, ...]) -> Skill:
    name, reported_as, trusted_as, reporters, average, top_level, skill_hash, *rest = row
    first_reported, last_reported, confirmations, fingerprint, trusted, disputed, *rest = rest
    first_trusted, last_trusted, *entries = rest
    return Skill(
        name,
        Risk(reporters or 0, average or 0.0, top_level or "LOW", reported_as or "", skill_hash),
        trusted_as or "",
        first_reported,
        last_reported,
        confirmations or 0,
        fingerprint,
        bool(trusted),
        bool(disputed),
        first_trusted,
        last_trusted,
        *entries,
    )


def note_last_report(db: Database, name: str, hour: str) -> None:
    """Record that a skill was reported again, with nothing new: no change of a list."""
    db.conn.execute(
        "UPDATE skill_standing SET last_reported = ? WHERE name = ? AND last_reported < ?", [hour, name, hour]
    )


def _extent(db: Database, table: str, name: str, highest: int | None = None) -> tuple[int, int]:
    """Return the highest id of a skill's rows, and how many rows there are; with `highest`, of those up to it."""
    if highest is None:
        (highest,) = db.conn.execute(
            f"SELECT coalesce(max(id), 0) FROM {table} WHERE name = ?",
            [name],
        ).fetchone()
    (rows,) = db.conn.execute(
        f"SELECT count(*) FROM {table} WHERE name = ? AND id <= ?",
        [name, highest],
    ).fetchone()
    return int(highest or 0), int(rows)
