"""The store of upstreams: what is known of each, and what is in service from it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from sqlite_utils import Database

from app.federation.decide import TextRef, Traits, excluded_because, has_filters
from app.federation.sources.collected import Failure, FailureCode, Memory, SetAside
from app.federation.upstream import BundleUpstream, Upstream, UpstreamBase, settings_digest


@dataclass(frozen=True, slots=True)
class UpstreamRow:
    """What the database knows of an upstream; instants are texts, None before the first of their kind.

    `failure` is the code of the last pull's failure, None when it succeeded; `failures` have failed in a row.
    """

    checked_at: str | None
    succeeded_at: str | None
    changed_at: str | None
    failure: FailureCode | None
    error: str | None
    failures: int
    next_at: str | None
    pull_seconds: float | None
    memory: Memory


_COLUMNS = "checked_at, succeeded_at, changed_at, failure, error, failures, next_at, pull_seconds, memory"


def load_row(db: Database, name: str) -> UpstreamRow:
    """Return what is known of an upstream: nothing at all when it has no row yet."""
    row = db.execute(f"SELECT {_COLUMNS} FROM upstream WHERE name = ?", [name]).fetchone()
    if row is None:
        return UpstreamRow(None, None, None, None, None, 0, None, None, Memory())
    return UpstreamRow(*[*row[:8], msgspec.json.decode(row[8], type=Memory)])


def sync_rows(db: Database, upstreams: Iterable[Upstream]) -> None:
    """Give every configured upstream its row, with the kind and priority of the configuration.

    One whose entry has changed is pulled at once and asked for everything; bundles keep their memory, since their
    order must hold whatever is configured. The texts of one of another kind than before are inspected again, since
    not every kind takes the same for a rule.
    """
    for upstream in upstreams:
        db.execute(
            "INSERT INTO upstream (name, kind, priority) VALUES (:name, :kind, :priority)"
            " ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, priority = excluded.priority,"
            " version = CASE WHEN kind = excluded.kind THEN version END",
            {"name": upstream.name, "kind": upstream.kind, "priority": upstream.priority},
        )
        memory, settings = load_row(db, upstream.name).memory, settings_digest(upstream)
        if memory.settings != settings:
            kept = memory if isinstance(upstream, BundleUpstream) else Memory()
            text = msgspec.json.encode(msgspec.structs.replace(kept, settings=settings)).decode()
            db.execute(
                "UPDATE upstream SET memory = ?, next_at = NULL, failures = 0 WHERE name = ?",
                [text, upstream.name],
            )


def drop_unconfigured(db: Database, upstreams: Sequence[UpstreamBase], at: str) -> dict[str, int]:
    """Withdraw the rules of upstreams that are no longer configured; return `name -> how many rules`.

    Their pending changes are dropped, and their memory too: one that comes back is asked for everything. Their
    versions stay.
    """
    configured = [upstream.name for upstream in upstreams]
    gone = f"NOT IN ({', '.join('?' * len(configured))})"
    db.execute(f"DELETE FROM held_change WHERE upstream {gone}", configured)
    db.execute(
        f"UPDATE upstream SET memory = '{{}}', version = NULL, failure = NULL, error = NULL WHERE name {gone}",
        configured,
    )
    theirs = f"origin LIKE 'upstream:%' AND substr(origin, 10) {gone} AND state = 'active'"
    counted = db.execute(
        f"SELECT substr(origin, 10), count(*) FROM rule WHERE {theirs} GROUP BY origin", configured
    ).fetchall()
    db.execute(
        "UPDATE rule SET state = 'withdrawn', reason = 'upstream is configured no more', changed_at = ?"
        f" WHERE {theirs}",
        [at, *configured],
    )
    return dict(counted)


def in_service(db: Database, origin: str) -> dict[str, TextRef]:
    """Return `rule_id -> text` of what is in service from this origin.

    Older releases kept no source: it was `atr`.
    """
    rows = db.execute(
        "SELECT rule_id, digest, coalesce(source, 'atr') FROM rule WHERE origin = ? AND state = 'active'",
        [origin],
    )
    return {rule_id: TextRef(digest, source) for rule_id, digest, source in rows}


def apply_filters(db: Database, upstream: UpstreamBase) -> int:
    """Bring `rule.excluded` of this upstream's rules in line with its filters; return how many changed.

    The columns of `rule_text` are enough: no text is read.
    """
    if not has_filters(upstream):
        return db.execute(
            "UPDATE rule SET excluded = NULL WHERE origin = ? AND excluded IS NOT NULL", [upstream.origin]
        ).rowcount
    rows = db.execute(
        "SELECT r.excluded, r.rule_id, t.category, t.severity, coalesce(t.status, ''), coalesce(t.maturity, '')"
        " FROM rule r JOIN rule_text t ON t.digest = r.digest WHERE r.origin = ? AND r.state = 'active'",
        [upstream.origin],
    ).fetchall()
    wanted = [(row[0], excluded_because(upstream, Traits(*row[1:])), row[1]) for row in rows]
    changed = [(new, upstream.origin, rule_id) for old, new, rule_id in wanted if new != old]
    db.conn.executemany("UPDATE rule SET excluded = ? WHERE origin = ? AND rule_id = ?", changed)
    return len(changed)


def record_success(
    db: Database,
    name: str,
    at: str,
    *,
    memory: Memory,
    version: int | None = None,
    set_aside: Sequence[SetAside] | None = None,
    changed: bool = False,
) -> None:
    """Record a pull that brought an answer; an argument of None leaves its column as it is."""
    db.execute(
        "UPDATE upstream SET checked_at = :at, succeeded_at = :at, failure = NULL, error = NULL, failures = 0,"
        " memory = :memory, version = coalesce(:version, version),"
        " set_aside = coalesce(:set_aside, set_aside) WHERE name = :name",
        {
            "name": name,
            "at": at,
            "memory": msgspec.json.encode(memory).decode(),
            "version": version,
            "set_aside": None if set_aside is None else msgspec.json.encode(set_aside).decode(),
        },
    )
    if changed:
        record_change(db, name, at)


def record_change(db: Database, name: str, at: str) -> None:
    """Record that what is in service from an upstream has changed."""
    db.table("upstream").update(name, {"changed_at": at})


def record_failure(db: Database, name: str, failure: Failure, at: str) -> int:
    """Record a pull that brought no answer; return how many have failed in a row."""
    db.execute(
        "UPDATE upstream SET checked_at = ?, failure = ?, error = ?, failures = failures + 1 WHERE name = ?",
        [at, failure.code, failure.message, name],
    )
    count: int = db.execute("SELECT failures FROM upstream WHERE name = ?", [name]).fetchone()[0]
    return count


def record_schedule(db: Database, name: str, next_at: str, seconds: float) -> None:
    """Record when the next pull is, and how long this one took."""
    db.table("upstream").update(name, {"next_at": next_at, "pull_seconds": seconds})


def set_aside_of(db: Database, name: str) -> list[SetAside]:
    """Return what the last answer offered that is not taken."""
    row = db.execute("SELECT set_aside FROM upstream WHERE name = ?", [name]).fetchone()
    return msgspec.json.decode(row[0], type=list[SetAside]) if row else []


def count_rules(db: Database, origin: str) -> tuple[int, int]:
    """Count the rules in service from this origin, and those of them that a filter keeps out."""
    row: tuple[int, int] = db.execute(
        "SELECT count(*), count(excluded) FROM rule WHERE origin = ? AND state = 'active'", [origin]
    ).fetchone()
    return row


def adopted_version(db: Database, name: str) -> int | None:
    """Return the version that the upstream offered last; None before its first answer, or when it is read again."""
    row = db.execute("SELECT version FROM upstream WHERE name = ?", [name]).fetchone()
    return row[0] if row else None


def version_of(db: Database, name: str) -> tuple[str, str] | None:
    """Return label and first sight of what an upstream offered last."""
    row: tuple[str, str] | None = db.execute(
        "SELECT v.label, v.first_seen FROM upstream u JOIN upstream_version v ON v.id = u.version"
        " WHERE u.name = ?",
        [name],
    ).fetchone()
    return row
