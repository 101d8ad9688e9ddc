"""The SQL of what is said of skills: reports on them, votes for them, and an admin's entries.

Every change of it recomputes the verdict of the skill: see `app.intel.skills.verdict_store`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from sqlite_utils import Database

from app.consensus.policy import ConsensusPolicy
from app.http.paging import Page
from app.intel.reporter import NOBODY, Reporter
from app.intel.skills.verdict_store import note_last_report, recount_skill, recount_skills
from app.intel.voters_store import ALWAYS_COUNTED
from app.privacy.personal_data import Expiry, PersonalData
from app.privacy.store import PURGE_BATCH, delete_rows_of_subject, rows_of_subject

Side = Literal["black", "white"]


@dataclass(frozen=True, slots=True)
class NewReport:
    """A report on a skill, already cleaned; `name` is normalised, `display` as it was written."""

    name: str
    display: str
    skill_hash: str
    score: float
    level: str
    findings: Any
    source: str


@dataclass(frozen=True, slots=True)
class NewVote:
    """A vote for a skill, already cleaned."""

    name: str
    display: str
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class RecordedVotes:
    """Whether a verdict changed, and the skills that a job must count."""

    changed: bool
    due: frozenset[str]


class StoredReport(msgspec.Struct, frozen=True, rename="camel"):
    """What one identity reports of one skill and hash; `subject` is empty for a report without a key."""

    id: int
    skill_name: str
    skill_hash: str
    subject: str
    risk_score: float
    risk_level: str
    findings: Any
    source: str
    reports: int
    first_at: str
    last_at: str


_COLUMNS = ", ".join(StoredReport.__struct_fields__).replace("skill_name", "display AS skill_name")


def report_skills(
    db: Database,
    reports: Iterable[NewReport],
    reporter: Reporter,
    hour: str,
    at: str,
    policy: ConsensusPolicy,
) -> RecordedVotes:
    """Record reports. `hour` is the time kept of the report, `at` that of the change that it makes."""
    names = set()
    subject = reporter.subject or NOBODY
    for report in reports:
        before = db.conn.execute(
            "SELECT risk_score, risk_level FROM skill_threat WHERE name = ? AND skill_hash = ? AND subject = ?",
            [report.name, report.skill_hash, subject],
        ).fetchone()
        db.conn.execute(
            "INSERT INTO skill_threat (name, skill_hash, subject, key_id, address, client, display, risk_score,"
            " risk_level, findings, source, reports, first_at, last_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET reports = reports + 1,"
            " risk_score = excluded.risk_score, risk_level = excluded.risk_level, findings = excluded.findings,"
            " client = excluded.client, last_at = excluded.last_at",
            [
                report.name,
                report.skill_hash,
                subject,
                reporter.key_id,
                reporter.address if reporter.subject else "",
                reporter.client,
                report.display,
                report.score,
                report.level,
                json.dumps(report.findings, separators=(",", ":")),
                report.source,
                hour,
                hour,
            ],
        )
        if before == (report.score, report.level):
            note_last_report(db, report.name, hour)
        elif reporter.subject:
            names.add(report.name)
    return _count(db, "skill_threat", names, at, policy)


def vote_for_skills(
    db: Database, votes: Iterable[NewVote], reporter: Reporter, hour: str, at: str, policy: ConsensusPolicy
) -> RecordedVotes:
    """Record the votes of an enrolled identity.

    Guards send every vote again at each synchronisation: those that are known cost a look-up and, once an hour, a
    write. One statement for all of them: each one would take the interpreter from other requests.
    """
    latest = {vote.name: vote for vote in votes}
    known = {
        name: (fingerprint, last_at)
        for name, fingerprint, last_at in db.conn.execute(
            "SELECT v.name, v.fingerprint, v.last_at FROM json_each(?) n CROSS JOIN skill_trust v"
            " ON v.name = n.value AND v.subject = ?",
            [_json(list(latest)), reporter.subject],
        )
    }
    new = [vote for vote in latest.values() if known.get(vote.name) != (vote.fingerprint, hour)]
    if not new:
        return RecordedVotes(False, frozenset())
    db.conn.execute(
        "INSERT INTO skill_trust (name, subject, key_id, address, client, display, fingerprint, first_at, last_at)"
        " SELECT json_extract(value, '$[0]'), ?, ?, ?, ?, json_extract(value, '$[1]'), json_extract(value, '$[2]'),"
        " ?, ? FROM json_each(?) WHERE true ON CONFLICT DO UPDATE SET"
        " fingerprint = excluded.fingerprint, client = excluded.client, last_at = excluded.last_at",
        [
            reporter.subject,
            reporter.key_id,
            reporter.address,
            reporter.client,
            hour,
            hour,
            _json([(vote.name, vote.display, vote.fingerprint) for vote in new]),
        ],
    )
    names = {
        vote.name for vote in new if (before := known.get(vote.name)) is None or before[0] != vote.fingerprint
    }
    return _count(db, "skill_trust", names, at, policy)


def _count(db: Database, table: str, names: set[str], at: str, policy: ConsensusPolicy) -> RecordedVotes:
    votes = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE name = value LIMIT ?)"
    few = db.conn.execute(
        f"SELECT value FROM json_each(?) WHERE ({votes}) <= ?",
        [_json(sorted(names)), ALWAYS_COUNTED + 1, ALWAYS_COUNTED],
    ).fetchall()
    changed = [recount_skill(db, name, at, policy) for (name,) in few]
    return RecordedVotes(any(changed), frozenset(names.difference(name for (name,) in few)))


def names_of(db: Database, subject: str) -> list[str]:
    """Return the skills that an identity has reported or voted for."""
    rows = db.conn.execute(
        "SELECT name FROM skill_threat WHERE subject = ? UNION SELECT name FROM skill_trust WHERE subject = ?",
        [subject, subject],
    )
    return [name for (name,) in rows]


def put_entries(
    db: Database,
    side: Side,
    entries: Sequence[tuple[str, str, str | None]],
    reason: str | None,
    added_by: str,
    at: str,
) -> int:
    """Add an admin's entries `(name, display, hash)` to a list; return how many were not there before."""
    table = db.table("skill_entry")
    known = {row["name"] for row in table.rows_where("list = ?", [side], select="name")}
    table.insert_all(
        (
            {
                "list": side,
                "name": name,
                "display": display,
                "hash": skill_hash,
                "reason": reason,
                "added_by": added_by,
                "at": at,
            }
            for name, display, skill_hash in entries
        ),
        replace=True,
    )
    return len({name for name, _, _ in entries} - known)


def forget_skill(db: Database, side: Side, name: str, at: str, policy: ConsensusPolicy) -> int:
    """Take a skill off a list: an admin's entry, and every report on it or vote for it. Return how many rows."""
    table = "skill_threat" if side == "black" else "skill_trust"
    gone = db.conn.execute("DELETE FROM skill_entry WHERE list = ? AND name = ?", [side, name]).rowcount
    gone += db.conn.execute(f"DELETE FROM {table} WHERE name = ?", [name]).rowcount
    recount_skill(db, name, at, policy)
    db.conn.execute("UPDATE skill_standing SET changed_at = ? WHERE name = ?", [at, name])
    return gone


def list_reports(db: Database, page: Page) -> list[StoredReport]:
    """Return reports, newest first: up to one more than `page.limit`, if there are more."""
    after, values = ("id < CAST(? AS INTEGER)", list(page.after)) if page.after else ("1", [])
    rows = db.query(
        f"SELECT {_COLUMNS} FROM skill_threat WHERE {after} ORDER BY id DESC LIMIT ?",
        [*values, page.limit + 1],
    )
    return [StoredReport(**{**row, "findings": json.loads(row["findings"])}) for row in rows]


def skill_data(policy: ConsensusPolicy) -> PersonalData:
    """Return what is kept of clients: their reports on skills and their votes for them."""

    def erase(db: Database, subject: str, at: str) -> dict[str, int]:
        names = names_of(db, subject)
        erased = {name: delete_rows_of_subject(db, table, subject) for name, table in _CLASSES.items()}
        recount_skills(db, names, at, policy)
        return erased

    def purge(db: Database, table: str, before: str, at: str) -> int:
        rows = db.conn.execute(
            f"SELECT id, name FROM {table} WHERE last_at < ? LIMIT {PURGE_BATCH}", [before]
        ).fetchall()
        db.conn.executemany(f"DELETE FROM {table} WHERE id = ?", [(row_id,) for row_id, _ in rows])
        recount_skills(db, sorted({name for _, name in rows}), at, policy)
        return len(rows)

    return PersonalData(
        export=lambda db, subject: {
            name: rows_of_subject(db, table, subject) for name, table in _CLASSES.items()
        },
        erase=erase,
        expiries=(
            Expiry(
                "skillThreats",
                lambda retention: retention.skills_days,
                lambda db, before, at: purge(db, "skill_threat", before, at),
            ),
            Expiry(
                "skillVotes",
                lambda retention: retention.skills_days,
                lambda db, before, at: purge(db, "skill_trust", before, at),
            ),
        ),
    )


_CLASSES = {"skillThreats": "skill_threat", "skillVotes": "skill_trust"}


def _json(values: Any) -> str:
    return msgspec.json.encode(values).decode()
