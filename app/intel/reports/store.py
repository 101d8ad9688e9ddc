"""The SQL of reports: threat events as they were cleaned, and sealed reports as they came.

Sealed reports are what Guards of 1.8 and newer encrypt to a key that only their maker holds. They are answered like
any other report, since a Guard that is refused sends a growing buffer again each minute (measured). How many events
are inside cannot be seen. They are kept, if at all, exactly as they came.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlite_utils import Database

from app.http.paging import Page
from app.intel.reporter import Reporter
from app.intel.reports.events import Channel, Threat
from app.privacy.personal_data import Expiry, PersonalData, Rows
from app.privacy.store import delete_older_rows, delete_rows_of_subject, rows_of_subject

Short = Annotated[str, Meta(max_length=128)]


class SealedReport(msgspec.Struct):
    """What stock Guards put under `sealed`; `jwe` is a compact JWE (RFC 7516)."""

    v: int | str
    alg: Short
    kid: Short
    jwe: str


class StoredThreat(msgspec.Struct, frozen=True, rename="camel"):
    """One kept event as admins see it; instants are hours."""

    id: int
    channel: Channel
    received: str
    hour: str
    subject: str | None
    source_network: str | None
    attack_type: str
    mitre_technique: str
    rule_ids: str
    region: str
    detail: dict[str, Any]


COLUMNS = ", ".join(StoredThreat.__struct_fields__)


def keep_threats(
    db: Database, channel: Channel, threats: Sequence[Threat], reporter: Reporter, received: str
) -> None:
    """Store events; `received` is an hour as text."""
    db.conn.executemany(
        "INSERT INTO threat (channel, received, hour, subject, client, source_network, attack_type,"
        " mitre_technique, rule_ids, region, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                channel,
                received,
                threat.hour,
                reporter.subject,
                reporter.client,
                threat.source_network,
                threat.attack_type,
                threat.mitre_technique,
                threat.rule_ids,
                threat.region,
                json.dumps(threat.detail, separators=(",", ":")),
            )
            for threat in threats
        ],
    )


def list_threats(db: Database, page: Page, channel: str | None = None) -> list[StoredThreat]:
    """Return kept events, newest first: up to one more than `page.limit`, if there are more."""
    conditions, values = ["1"], list[object]()
    if channel is not None:
        conditions.append("channel = ?")
        values.append(channel)
    if page.after is not None:
        conditions.append("id < CAST(? AS INTEGER)")
        values.extend(page.after)
    rows = db.query(
        f"SELECT {COLUMNS} FROM threat WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?",
        [*values, page.limit + 1],
    )
    return [StoredThreat(**{**row, "detail": json.loads(row["detail"])}) for row in rows]


def keep_sealed(db: Database, reports: Iterable[Any], reporter: Reporter, received: str) -> int:
    """Store what has the form of a sealed report; `received` is an hour as text. Return how many."""
    rows = [
        (received, reporter.subject, reporter.client, msgspec.json.encode(sealed).decode())
        for sealed in map(_sealed, reports)
        if sealed is not None
    ]
    db.conn.executemany("INSERT INTO sealed (received, subject, client, envelope) VALUES (?, ?, ?, ?)", rows)
    return len(rows)


def count_threats_by(db: Database, column: str, most: int) -> list[tuple[str, int]]:
    """Return the most frequent values of an indexed column among the kept events, with their counts."""
    rows: list[Any] = db.conn.execute(
        f"SELECT {column}, count(*) FROM threat WHERE {column} != '' GROUP BY {column}"
        " ORDER BY 2 DESC, 1 LIMIT ?",
        [most],
    ).fetchall()
    return rows


def _export(db: Database, subject: str) -> dict[str, Rows]:
    return {name: rows_of_subject(db, table, subject) for name, table in _TABLES.items()}


def _erase(db: Database, subject: str, _at: str) -> dict[str, int]:
    return {name: delete_rows_of_subject(db, table, subject) for name, table in _TABLES.items()}


_TABLES = {"threats": "threat", "sealed": "sealed"}
REPORT_DATA = PersonalData(
    export=_export,
    erase=_erase,
    expiries=(
        Expiry(
            "threats",
            lambda policy: policy.threats_days,
            lambda db, before, _at: delete_older_rows(db, "threat", "received", before),
        ),
        Expiry(
            "sealed",
            lambda policy: policy.sealed_days,
            lambda db, before, _at: delete_older_rows(db, "sealed", "received", before),
        ),
    ),
)


def _sealed(report: Any) -> SealedReport | None:
    try:
        return msgspec.convert(report, SealedReport)
    except msgspec.ValidationError:
        return None
