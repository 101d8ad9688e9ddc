"""The SQL of the fleet: when keys were seen and served, and what agents say of their hosts."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Literal

import msgspec
from sqlite_utils import Database

from app.access.key_activity import KeyActivity, LastUse
from app.fleet.agents import FleetAgent, FleetTotals, SelfReport, Standing, is_stale, standing_of
from app.http.paging import Page, cursor_for
from app.http.timestamps import to_text
from app.storage import Storage

BATCH = 500
"""Sightings written in one transaction: a fleet of 100,000 must not keep other writes waiting."""

_REPORT = SelfReport.__struct_fields__
_COLUMNS = (
    "k.id, k.subject, k.enrolled, k.site, k.issued_at, s.seen_at, s.serial, s.served_at, r.at, "
    + ", ".join(f"r.{name}" for name in _REPORT)
)
_AGENTS = (
    " FROM key k LEFT JOIN sighting s ON s.key_id = k.id LEFT JOIN agent_report r ON r.key_id = k.id"
    " WHERE k.role = 'agent' AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > :now)"
)
_STANDING: dict[Standing, str] = {
    "current": "s.serial >= :newest",
    "behind": "s.serial < :newest",
    "never": "s.serial IS NULL",
}
_STALE = "coalesce(s.seen_at, k.issued_at) < :limit"


async def write_sightings(storage: Storage, sightings: KeyActivity) -> None:
    """Write what was seen since the last time, in the order of the table: neighbours are on the same pages."""
    found = sorted(sightings.flush(), key=attrgetter("key_id"))
    for start in range(0, len(found), BATCH):
        batch = found[start : start + BATCH]
        await storage.write(lambda db, batch=batch: keep_sightings(db, batch))  # type: ignore[misc]


def keep_sightings(db: Database, sightings: Sequence[LastUse]) -> None:
    """Bring the records of these keys up to date.

    One statement for all: one a row would take the interpreter from whoever is being answered, each time again.
    """
    rows = [
        (s.key_id, to_text(s.seen_at), s.serial, to_text(s.served_at) if s.served_at else None)
        for s in sightings
    ]
    db.conn.execute(
        "INSERT INTO sighting (key_id, seen_at, serial, served_at)"
        " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),"
        " json_extract(value, '$[3]') FROM json_each(?) WHERE true ON CONFLICT DO UPDATE SET"
        " seen_at = excluded.seen_at, serial = coalesce(excluded.serial, serial),"
        " served_at = coalesce(excluded.served_at, served_at)",
        [msgspec.json.encode(rows).decode()],
    )


def keep_report(db: Database, key_id: str, report: SelfReport, at: str) -> None:
    """Remember what an agent says of its host; what it does not mention stays as it was."""
    names, marks = ", ".join(_REPORT), ", ".join("?" * len(_REPORT))
    kept = ", ".join(f"{name} = coalesce(excluded.{name}, {name})" for name in _REPORT)
    db.conn.execute(
        f"INSERT INTO agent_report (key_id, at, {names}) VALUES (?, ?, {marks})"
        f" ON CONFLICT DO UPDATE SET at = excluded.at, {kept}",
        [key_id, at, *msgspec.structs.astuple(report)],
    )


def list_fleet(
    db: Database,
    page: Page,
    *,
    newest: int,
    now: str,
    limit: str,
    standing: Standing | None = None,
    stale: Literal["yes", "no"] | None = None,
) -> tuple[list[FleetAgent], str | None]:
    """One page of agents with a valid key, the newest key first, with the cursor of the next one.

    `newest` is the serial that is served; `limit` the instant from which on an agent is not stale.
    """
    clauses, values = list[str](), _values(newest, now, limit)
    if standing is not None:
        clauses.append(_STANDING[standing])
    if stale is not None:
        clauses.append(_STALE if stale == "yes" else f"NOT {_STALE}")
    if page.after is not None:
        clauses.append("(k.issued_at, k.id) < (:after_at, :after_id)")
        values["after_at"], values["after_id"] = page.after
    where = "".join(f" AND {clause}" for clause in clauses)
    rows = db.conn.execute(
        f"SELECT {_COLUMNS}{_AGENTS}{where} ORDER BY k.issued_at DESC, k.id DESC LIMIT :rows",
        values | {"rows": page.limit + 1},
    ).fetchall()
    agents = [_agent(row, newest, limit) for row in rows[: page.limit]]
    more = len(rows) > page.limit
    return agents, cursor_for([agents[-1].issued_at, agents[-1].id]) if more else None


def find_agent(db: Database, key_id: str, *, newest: int, now: str, limit: str) -> FleetAgent | None:
    """The agent with this valid key."""
    row = db.conn.execute(
        f"SELECT {_COLUMNS}{_AGENTS} AND k.id = :id",
        _values(newest, now, limit) | {"id": key_id},
    ).fetchone()
    return None if row is None else _agent(row, newest, limit)


def totals(db: Database, *, newest: int, now: str, limit: str) -> FleetTotals:
    """How the fleet stands as a whole."""
    counts = [f"sum({clause})" for clause in (*_STANDING.values(), _STALE)]
    row = db.conn.execute(
        f"SELECT count(*), {', '.join(counts)}{_AGENTS}",
        _values(newest, now, limit),
    ).fetchone()
    return FleetTotals(*(value or 0 for value in row))


def export_agent(db: Database, subject: str) -> list[dict[str, Any]]:
    """Everything kept here of the keys of one subject."""
    rows = db.conn.execute(
        "SELECT s.key_id, s.seen_at, s.serial, s.served_at FROM sighting s JOIN key k ON k.id = s.key_id"
        " WHERE k.subject = ? ORDER BY s.key_id",
        [subject],
    )
    found = [dict(zip(("keyId", "seenAt", "serial", "servedAt"), row, strict=True)) for row in rows]
    names = ("key_id", "at", *_REPORT)
    rows = db.conn.execute(
        f"SELECT {', '.join(f'r.{name}' for name in names)} FROM agent_report r JOIN key k ON k.id = r.key_id"
        " WHERE k.subject = ? ORDER BY r.key_id",
        [subject],
    )
    return found + [dict(zip(names, row, strict=True)) for row in rows]


def erase_agent(db: Database, subject: str) -> int:
    """Forget all of that; the keys themselves stay, and a key that is used is seen again. Returns rows."""
    mine = "WHERE key_id IN (SELECT id FROM key WHERE subject = ?)"
    return sum(
        db.conn.execute(f"DELETE FROM {table} {mine}", [subject]).rowcount
        for table in ("sighting", "agent_report")
    )


def purge_agents(db: Database, before: str) -> int:
    """Forget what was last said and seen before an instant. Returns rows."""
    return (
        db.conn.execute("DELETE FROM sighting WHERE seen_at < ?", [before]).rowcount
        + db.conn.execute("DELETE FROM agent_report WHERE at < ?", [before]).rowcount
    )


def _values(newest: int, now: str, limit: str) -> dict[str, Any]:
    return {"newest": newest, "now": now, "limit": limit}


def _agent(row: tuple[Any, ...], newest: int, limit: str) -> FleetAgent:
    key_id, subject, enrolled, site, issued_at, seen_at, serial, served_at, reported_at, *said = row
    return FleetAgent(
        id=key_id,
        subject=subject,
        enrolled=enrolled,
        site=site,
        issued_at=issued_at,
        last_seen=seen_at,
        stale=is_stale(seen_at, issued_at, limit),
        standing=standing_of(serial, newest),
        serial=serial,
        served_at=served_at,
        reported_at=reported_at,
        **dict(zip(_REPORT, said, strict=True)),
    )
