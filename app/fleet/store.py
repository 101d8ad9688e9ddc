"""The SQL of the fleet: when keys were used and served (table `sighting`), and what agents report of their hosts."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlite_utils import Database

from app.access.key_activity import LastUse
from app.fleet.agents import FleetAgent, FleetTotals, SelfReport, SyncState, is_stale, sync_state_of
from app.http.paging import Page
from app.http.timestamps import to_text
from app.privacy.personal_data import Expiry, PersonalData, Rows

_REPORT = SelfReport.__struct_fields__
_COLUMNS = (
    "k.id, k.subject, k.enrolled, k.site, k.issued_at, s.seen_at, s.serial, s.served_at, r.at, "
    + ", ".join(f"r.{name}" for name in _REPORT)
)
_AGENTS = (
    " FROM key k LEFT JOIN sighting s ON s.key_id = k.id LEFT JOIN agent_report r ON r.key_id = k.id"
    " WHERE k.role = 'agent' AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > :now)"
)
_SYNC_STATE: dict[SyncState, str] = {
    "current": "s.serial >= :newest",
    "behind": "s.serial < :newest",
    "never": "s.serial IS NULL",
}
_STALE = "coalesce(s.seen_at, k.issued_at) < :limit"


def keep_activity(db: Database, activity: Sequence[LastUse]) -> None:
    """Update the records of these keys.

    One statement for all of them: one for each row would take the interpreter from other requests each time.
    """
    rows = [
        (a.key_id, to_text(a.seen_at), a.serial, to_text(a.served_at) if a.served_at else None)
        for a in activity
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
    """Keep what an agent reports of its host; what it does not mention stays as it was."""
    names, marks = ", ".join(_REPORT), ", ".join("?" * len(_REPORT))
    kept = ", ".join(f"{name} = coalesce(excluded.{name}, {name})" for name in _REPORT)
    db.conn.execute(
        f"INSERT INTO agent_report (key_id, at, {names}) VALUES (?, ?, {marks})"
        f" ON CONFLICT DO UPDATE SET at = excluded.at, {kept}",
        [key_id, at, *msgspec.structs.astuple(report)],
    )


def list_agents(
    db: Database,
    page: Page,
    *,
    newest: int,
    now: str,
    limit: str,
    sync_state: SyncState | None = None,
    stale: Literal["yes", "no"] | None = None,
) -> list[FleetAgent]:
    """Return agents with a valid key, the newest key first: up to one more than `page.limit`, if there are more.

    `newest` is the serial that is served; `limit` the instant from which on an agent is not stale.
    """
    clauses, values = list[str](), _values(newest, now, limit)
    if sync_state is not None:
        clauses.append(_SYNC_STATE[sync_state])
    if stale is not None:
        clauses.append(_STALE if stale == "yes" else f"NOT {_STALE}")
    if page.after is not None:
        clauses.append("(k.issued_at, k.id) < (:after_at, :after_id)")
        values["after_at"], values["after_id"] = page.after
    where = "".join(f" AND {clause}" for clause in clauses)
    rows = db.conn.execute(
        f"SELECT {_COLUMNS}{_AGENTS}{where} ORDER BY k.issued_at DESC, k.id DESC LIMIT :rows",
        values | {"rows": page.limit + 1},
    )
    return [_agent(row, newest, limit) for row in rows]


def find_agent(db: Database, key_id: str, *, newest: int, now: str, limit: str) -> FleetAgent | None:
    """Return the agent with this valid key, or None."""
    row = db.conn.execute(
        f"SELECT {_COLUMNS}{_AGENTS} AND k.id = :id",
        _values(newest, now, limit) | {"id": key_id},
    ).fetchone()
    return None if row is None else _agent(row, newest, limit)


def fleet_totals(db: Database, *, newest: int, now: str, limit: str) -> FleetTotals:
    """Return how many agents of the whole fleet are in each state."""
    counts = [f"sum({clause})" for clause in (*_SYNC_STATE.values(), _STALE)]
    row = db.conn.execute(
        f"SELECT count(*), {', '.join(counts)}{_AGENTS}",
        _values(newest, now, limit),
    ).fetchone()
    return FleetTotals(*(value or 0 for value in row))


def count_agents_seen(db: Database, since: str) -> int:
    """Return how many identities have a valid agent key that was used since an instant."""
    row = db.conn.execute(
        "SELECT count(DISTINCT k.subject) FROM sighting s JOIN key k ON k.id = s.key_id"
        " WHERE k.role = 'agent' AND k.revoked_at IS NULL AND s.seen_at >= ?",
        [since],
    ).fetchone()
    return int(row[0])


def export_agent(db: Database, subject: str) -> Rows:
    """Return everything kept here of the keys of one subject."""
    used = db.query(
        "SELECT s.key_id AS keyId, s.seen_at AS seenAt, s.serial, s.served_at AS servedAt"
        " FROM sighting s JOIN key k ON k.id = s.key_id WHERE k.subject = ? ORDER BY s.key_id",
        [subject],
    )
    names = ", ".join(f"r.{name}" for name in ("key_id", "at", *_REPORT))
    reported = db.query(
        f"SELECT {names} FROM agent_report r JOIN key k ON k.id = r.key_id"
        " WHERE k.subject = ? ORDER BY r.key_id",
        [subject],
    )
    return [*used, *reported]


def erase_agent(db: Database, subject: str) -> int:
    """Delete all of that; the keys themselves stay, and a key that is used is seen again. Return how many rows."""
    mine = "WHERE key_id IN (SELECT id FROM key WHERE subject = ?)"
    return sum(
        db.conn.execute(f"DELETE FROM {table} {mine}", [subject]).rowcount
        for table in ("sighting", "agent_report")
    )


def purge_agents(db: Database, before: str) -> int:
    """Delete what was last reported and seen before an instant. Return how many rows."""
    return (
        db.conn.execute("DELETE FROM sighting WHERE seen_at < ?", [before]).rowcount
        + db.conn.execute("DELETE FROM agent_report WHERE at < ?", [before]).rowcount
    )


FLEET_DATA = PersonalData(
    export=lambda db, subject: {"fleet": export_agent(db, subject)},
    erase=lambda db, subject, _at: {"fleet": erase_agent(db, subject)},
    expiries=(
        Expiry("fleet", lambda policy: policy.fleet_days, lambda db, before, _at: purge_agents(db, before)),
    ),
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
        standing=sync_state_of(serial, newest),
        serial=serial,
        served_at=served_at,
        reported_at=reported_at,
        **dict(zip(_REPORT, said, strict=True)),
    )
