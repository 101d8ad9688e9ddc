"""The SQL of skills: reports on them, votes for them, an admin's entries, and what all that amounts to.

What a skill amounts to is kept as one row (`skill_standing`), so that building a list reads no votes.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from sqlite_utils import Database

from app.consensus.policy import ConsensusPolicy
from app.http.paging import Page
from app.intel.reports.reporter import NOBODY, Reporter
from app.intel.skills.verdict import Report, Vouch, risk_of, trust_of
from app.intel.voters import ALWAYS_COUNTED, COLUMNS, JOIN, voter_of

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
class Outcome:
    """Whether what a skill amounts to changed, and the skills that are to be counted again soon."""

    changed: bool
    due: frozenset[str]


class StoredReport(msgspec.Struct, frozen=True, rename="camel"):
    """What one identity reports of one skill and hash; `subject` is empty for what came without a key."""

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


_NAMES = [field.encode_name for field in msgspec.structs.fields(StoredReport)]
_COLUMNS = (
    "id, display, skill_hash, subject, risk_score, risk_level, findings, source, reports, first_at, last_at"
)


def report_skills(
    db: Database,
    reports: Iterable[NewReport],
    reporter: Reporter,
    hour: str,
    at: str,
    policy: ConsensusPolicy,
) -> Outcome:
    """Record reports. `hour` is kept of the report, `at` of the change that it makes."""
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
            _touch(db, report.name, hour)
        elif reporter.subject:
            names.add(report.name)
    return _count(db, "skill_threat", names, at, policy)


def vouch_for_skills(
    db: Database, votes: Iterable[NewVote], reporter: Reporter, hour: str, at: str, policy: ConsensusPolicy
) -> Outcome:
    """Record the votes of an enrolled identity.

    Guards send every vote again at each synchronisation: those that are known cost a look-up and, once an hour, a
    write. One statement for all of them: each takes the interpreter from whoever is being answered.
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
    told = [vote for vote in latest.values() if known.get(vote.name) != (vote.fingerprint, hour)]
    if not told:
        return Outcome(False, frozenset())
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
            _json([(vote.name, vote.display, vote.fingerprint) for vote in told]),
        ],
    )
    names = {
        vote.name
        for vote in told
        if (before := known.get(vote.name)) is None or before[0] != vote.fingerprint
    }
    return _count(db, "skill_trust", names, at, policy)


def _count(db: Database, table: str, names: set[str], at: str, policy: ConsensusPolicy) -> Outcome:
    votes = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE name = value LIMIT ?)"
    few = db.conn.execute(
        f"SELECT value FROM json_each(?) WHERE ({votes}) <= ?",
        [_json(sorted(names)), ALWAYS_COUNTED + 1, ALWAYS_COUNTED],
    ).fetchall()
    changed = [recount_skill(db, name, at, policy) for (name,) in few]
    return Outcome(any(changed), frozenset(names.difference(name for (name,) in few)))


def recount_skill(db: Database, name: str, at: str, policy: ConsensusPolicy) -> bool:
    """Say anew what a skill amounts to; True when that changed."""
    return keep_standing(db, name, _amounts_to(db, name, policy), at)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a skill amounts to (`row` of `skill_standing`; None: nothing), and what of each table was counted.

    That is the highest id and how many rows there are up to it.
    """

    name: str
    row: tuple[Any, ...] | None
    extent: tuple[tuple[int, int], ...]


def count_skill(db: Database, name: str, policy: ConsensusPolicy) -> Counted:
    """Count a skill, which reads only: a whole fleet's votes take a while, and no write has to wait for it."""
    extent = tuple(_extent(db, table, name) for table in _TABLES)
    return Counted(name, _amounts_to(db, name, policy), extent)


def is_still_there(db: Database, counted: Counted) -> bool:
    """Has nothing of what was counted been deleted since? (What was added or changed since is due again anyway.)"""
    return all(
        _extent(db, table, counted.name, highest) == (highest, rows)
        for table, (highest, rows) in zip(_TABLES, counted.extent, strict=True)
    )


def keep_standing(db: Database, name: str, row: tuple[Any, ...] | None, at: str) -> bool:
    """Keep what a skill amounts to (`row` as in `Counted`); True when that changed."""
    before = db.conn.execute(f"SELECT {STANDING} FROM skill_standing WHERE name = ?", [name]).fetchone()
    if row is None:
        db.conn.execute("DELETE FROM skill_standing WHERE name = ?", [name])
        return before is not None
    if before == row:
        return False
    marks = ", ".join("?" * (len(row) + 1))
    db.conn.execute(
        f"INSERT OR REPLACE INTO skill_standing ({STANDING}, changed_at) VALUES ({marks})",
        [*row, at],
    )
    return True


_TABLES = ("skill_threat", "skill_trust")
STANDING = (
    "name, reported_as, trusted_as, skill_hash, reporters, average_risk, top_level, first_reported,"
    " last_reported, confirmations, fingerprint, is_trusted, is_disputed, first_trusted, last_trusted"
)


def _amounts_to(db: Database, name: str, policy: ConsensusPolicy) -> tuple[Any, ...] | None:
    risk = risk_of(reports_on(db, name), policy)
    trust = trust_of(vouches_for(db, name), policy)
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
    """What identities report of a skill, in order of time."""
    rows = db.conn.execute(
        f"SELECT {COLUMNS}, v.display, v.skill_hash, v.risk_score, v.risk_level"
        f" FROM skill_threat v {JOIN} WHERE v.name = ? AND v.subject <> '' ORDER BY v.id",
        [name],
    )
    return [Report(voter_of(row), *row[6:]) for row in rows]


def vouches_for(db: Database, name: str) -> list[Vouch]:
    """The votes for a skill, in order of time."""
    rows = db.conn.execute(
        f"SELECT {COLUMNS}, v.display, v.fingerprint FROM skill_trust v {JOIN}"
        " WHERE v.name = ? ORDER BY v.id",
        [name],
    )
    return [Vouch(voter_of(row), *row[6:]) for row in rows]


def names_of(db: Database, subject: str) -> list[str]:
    """The skills that an identity has reported or voted for."""
    rows = db.conn.execute(
        "SELECT name FROM skill_threat WHERE subject = ? UNION SELECT name FROM skill_trust WHERE subject = ?",
        [subject, subject],
    )
    return [name for (name,) in rows]


def all_names(db: Database) -> list[str]:
    """Every skill that somebody has said something of."""
    return [name for (name,) in db.conn.execute("SELECT name FROM skill_standing ORDER BY name")]


def put_entries(
    db: Database,
    side: Side,
    entries: Sequence[tuple[str, str, str | None]],
    reason: str | None,
    added_by: str,
    at: str,
) -> int:
    """Add an admin's entries `(name, display, hash)` to a list; returns how many were not there before."""
    added = 0
    for name, display, skill_hash in entries:
        known = db.conn.execute("SELECT 1 FROM skill_entry WHERE list = ? AND name = ?", [side, name])
        added += known.fetchone() is None
        db.conn.execute(
            "INSERT OR REPLACE INTO skill_entry (list, name, display, hash, reason, added_by, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [side, name, display, skill_hash, reason, added_by, at],
        )
    return added


def forget_skill(db: Database, side: Side, name: str, at: str, policy: ConsensusPolicy) -> int:
    """Take a skill off a list: an admin's entry, and every report on it or vote for it. Returns how many rows."""
    table = "skill_threat" if side == "black" else "skill_trust"
    gone = db.conn.execute("DELETE FROM skill_entry WHERE list = ? AND name = ?", [side, name]).rowcount
    gone += db.conn.execute(f"DELETE FROM {table} WHERE name = ?", [name]).rowcount
    recount_skill(db, name, at, policy)
    db.conn.execute("UPDATE skill_standing SET changed_at = ? WHERE name = ?", [at, name])
    return gone


def list_reports(db: Database, page: Page) -> list[StoredReport]:
    """Reports, newest first: up to one more than `page.limit`, which tells that there is a next page."""
    after, values = ("id < CAST(? AS INTEGER)", list(page.after)) if page.after else ("1", [])
    rows = db.conn.execute(
        f"SELECT {_COLUMNS} FROM skill_threat WHERE {after} ORDER BY id DESC LIMIT ?",
        [*values, page.limit + 1],
    )
    return [
        msgspec.convert(
            dict(zip(_NAMES, (*row[:6], json.loads(row[6]), *row[7:]), strict=True)), StoredReport
        )
        for row in rows
    ]


def _touch(db: Database, name: str, hour: str) -> None:
    """Note that a skill was reported again, with nothing new: no change of a list."""
    db.conn.execute(
        "UPDATE skill_standing SET last_reported = ? WHERE name = ? AND last_reported < ?", [hour, name, hour]
    )


def _extent(db: Database, table: str, name: str, highest: int | None = None) -> tuple[int, int]:
    """The highest id of a skill's rows, and how many rows there are; with `highest` given, of those up to it."""
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


def _json(values: Any) -> str:
    return msgspec.json.encode(values).decode()
