"""The SQL of rule texts, and of which rule each origin has.

A row belongs to `(origin, rule_id)`, so no origin can overwrite another's rule. That two origins have one id is
resolved when the set is composed, and never happens with community rules: a new one takes a free id (`free_id`), and
one in service gives its id up to an upstream or local rule (`yield_id`). (On the public server a proposal with the id
of an official rule replaces that rule.)

An import or a pull stores hundreds of rules in one transaction, hence prepared SQL.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count
from typing import Any, Literal

import msgspec
from sqlite_utils import Database

from app.http.paging import Page
from app.rules.edit import with_id
from app.rules.inspect import Inspection, inspect_text
from app.rules.validate import Profile, RuleProblem

COMMUNITY = "community"
"""The origin of rules that this instance's own consensus promoted."""

LOCAL = "local"
"""The origin of rules that an admin of this instance wrote; upstream ones are `upstream:<name>`."""

RuleState = Literal["active", "canary", "quarantined", "withdrawn"]


@dataclass(frozen=True, slots=True)
class StoredRule:
    """One rule of one origin. `pattern_hash` is the proposal of a community rule; instants are texts."""

    origin: str
    rule_id: str
    digest: str
    state: RuleState
    pattern_hash: str | None
    reason: str | None
    first_seen: str
    changed_at: str


_COLUMNS = "origin, rule_id, digest, state, pattern_hash, reason, first_seen, changed_at"
_INSERT = f"INSERT INTO rule ({_COLUMNS}, source, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def put_text(db: Database, inspection: Inspection, text: str) -> str:
    """Store a rule text under its digest, which is returned; an existing one stays.

    Only id, status and maturity are added to one that an older release stored without them. Raises `ValueError` when
    the inspection has no facts (id, title, severity or category is missing).
    """
    facts = inspection.facts
    if facts is None:
        raise ValueError("only a text with id, title, severity and category can be stored as a rule")
    db.conn.execute(
        "INSERT INTO rule_text (digest, text, detection_digest, title, category, severity, mitre_techniques,"
        " tags, warnings, guard_text, guard_refusal, rule_id, status, maturity)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (digest) DO UPDATE SET rule_id = excluded.rule_id, status = excluded.status,"
        " maturity = excluded.maturity WHERE rule_text.rule_id IS NULL",
        [
            inspection.text_digest,
            text,
            inspection.detection_digest,
            facts.title,
            facts.category,
            facts.severity,
            facts.mitre_techniques,
            facts.tags,
            msgspec.json.encode(inspection.warnings).decode(),
            inspection.guard_text,
            inspection.guard_refusal,
            facts.rule_id,
            facts.status,
            facts.maturity,
        ],
    )
    return inspection.text_digest


def store_rule(
    db: Database,
    *,
    origin: str,
    rule_id: str,
    digest: str,
    state: RuleState,
    at: str,
    pattern_hash: str | None = None,
    reason: str | None = None,
    source: str | None = None,
    version: int | None = None,
) -> None:
    """Make the text `digest` (already stored) the rule `rule_id` of `origin`, in place of its former one.

    `source` and `version` are an upstream's: the provenance that it states, and which of its versions brought the
    text. A community rule is recognised by its `pattern_hash` instead, so it may change its id here; for it
    an id that another community rule has raises `sqlite3.IntegrityError` (see `free_id`).
    """
    if pattern_hash is None:
        db.conn.execute(
            _INSERT + " ON CONFLICT (origin, rule_id) DO UPDATE SET digest = excluded.digest,"
            " state = excluded.state, reason = excluded.reason, changed_at = excluded.changed_at,"
            " source = excluded.source, version = excluded.version",
            [origin, rule_id, digest, state, None, reason, at, at, source, version],
        )
        return
    changed = db.conn.execute(
        "UPDATE rule SET rule_id = ?, digest = ?, state = ?, reason = ?, changed_at = ? WHERE pattern_hash = ?",
        [rule_id, digest, state, reason, at, pattern_hash],
    ).rowcount
    if not changed:
        db.conn.execute(_INSERT, [origin, rule_id, digest, state, pattern_hash, reason, at, at, None, None])


def set_state(
    db: Database, *, origin: str, rule_id: str, state: RuleState, reason: str | None, at: str
) -> bool:
    """Change the state of a rule of `origin`; False when it has none with this id."""
    changed = db.conn.execute(
        "UPDATE rule SET state = ?, reason = ?, changed_at = ? WHERE origin = ? AND rule_id = ?",
        [state, reason, at, origin, rule_id],
    ).rowcount
    return bool(changed)


def withdraw(db: Database, *, origin: str, rule_id: str, reason: str, at: str) -> bool:
    """Take a rule out of service; its row and text stay. False when `origin` has none with this id."""
    return set_state(db, origin=origin, rule_id=rule_id, state="withdrawn", reason=reason, at=at)


def rules_with_id(db: Database, rule_id: str) -> list[StoredRule]:
    """Return every origin's rule with this id, in any state."""
    rows = db.conn.execute(f"SELECT {_COLUMNS} FROM rule WHERE rule_id = ? ORDER BY origin", [rule_id])
    return [StoredRule(*row) for row in rows]


def rule_of_pattern(db: Database, pattern_hash: str) -> StoredRule | None:
    """Return the community rule that this proposal became, in any state."""
    row = db.conn.execute(f"SELECT {_COLUMNS} FROM rule WHERE pattern_hash = ?", [pattern_hash]).fetchone()
    return StoredRule(*row) if row else None


def free_id(db: Database, wanted: str, pattern_hash: str) -> str:
    """Return the id for a community rule: `wanted` unless another rule of any origin or state has it.

    Otherwise `ATR-LOCAL-<first 8 hex of the SHA-256 of its pattern hash>`, and so on until one is free.
    """
    return next(
        candidate
        for candidate in chain((wanted,), _local_ids(pattern_hash))
        if db.conn.execute(
            "SELECT 1 FROM rule WHERE rule_id = ? AND pattern_hash IS NOT ?", [candidate, pattern_hash]
        ).fetchone()
        is None
    )


def yield_id(db: Database, rule_id: str, at: str) -> str | None:
    """Rename the community rule in service that has `rule_id`, because another origin's rule comes with it.

    Return its new id, or None when there is no such rule. To be called in the transaction that brings the other
    rule. The renamed text was gated under its old id; only the id in it changes.
    """
    row = db.conn.execute(
        "SELECT r.pattern_hash, t.text FROM rule r JOIN rule_text t ON t.digest = r.digest"
        " WHERE r.origin = ? AND r.rule_id = ? AND r.state IN ('active', 'canary')",
        [COMMUNITY, rule_id],
    ).fetchone()
    if row is None:
        return None
    pattern_hash, text = row
    new_id = next(i for i in _local_ids(pattern_hash) if i != rule_id and free_id(db, i, pattern_hash) == i)
    renamed = with_id(text, new_id)
    digest = put_text(db, inspect_text(renamed, profile=Profile.PUBLISHED), renamed)
    db.conn.execute(
        "UPDATE rule SET rule_id = ?, digest = ?, changed_at = ? WHERE origin = ? AND rule_id = ?",
        [new_id, digest, at, COMMUNITY, rule_id],
    )
    return new_id


def _local_ids(pattern_hash: str) -> Iterator[str]:
    for number in count():
        seed = f"{pattern_hash}#{number}" if number else pattern_hash
        yield f"ATR-LOCAL-{hashlib.sha256(seed.encode()).hexdigest()[:8]}"


def text_of(db: Database, digest: str | None) -> str | None:
    """Return the kept text with this digest."""
    row = db.execute("SELECT text FROM rule_text WHERE digest = ?", [digest]).fetchone()
    return row[0] if row else None


def rule_id_of_text(db: Database, digest: str) -> str | None:
    """Return the id that the kept text with this digest states."""
    row = db.execute("SELECT rule_id FROM rule_text WHERE digest = ?", [digest]).fetchone()
    return row[0] if row else None


FILTERS = ("origin", "state", "category", "severity")
_SUMMARY = (
    "SELECT r.rule_id, r.origin, r.state, t.title, t.category, t.severity, t.mitre_techniques, t.tags,"
    " r.digest, r.pattern_hash, r.reason, r.first_seen, r.changed_at, t.guard_refusal,"
    " r.source, v.label, r.excluded, t.warnings, t.text"
    " FROM rule r JOIN rule_text t ON t.digest = r.digest LEFT JOIN upstream_version v ON v.id = r.version"
)
_BRIEF = 17
"""Columns of a summary: all but warnings and text."""


class RuleDetail(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One stored rule as people see it.

    For an upstream's rule, `source` is its provenance on the wire, `upstream_version` the label of the newest version
    of the upstream with this very text, and `excluded` why a filter keeps it from being served.
    """

    rule_id: str
    origin: str
    state: str
    title: str
    category: str
    severity: str
    mitre_techniques: str
    tags: str
    digest: str
    pattern_hash: str | None
    reason: str | None
    first_seen: str
    changed_at: str
    guard_refusal: str | None
    source: str | None
    upstream_version: str | None
    excluded: str | None
    warnings: list[RuleProblem] = []
    text: str = ""


def list_rules(db: Database, page: Page, wanted: Mapping[str, str]) -> list[RuleDetail]:
    """Return a page of stored rules by id and one more if there is one, without their texts.

    `wanted` are exact matches of `FILTERS`.
    """
    clauses = [f"{name} = :{name}" for name in FILTERS if name in wanted]
    values: dict[str, Any] = {**wanted, "limit": page.limit + 1}
    if page.after is not None:
        clauses.append("(r.rule_id, r.origin) > (:after_id, :after_origin)")
        values["after_id"], values["after_origin"] = page.after
    where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
    rows = db.execute(f"{_SUMMARY}{where} ORDER BY r.rule_id, r.origin LIMIT :limit", values)
    return [RuleDetail(*row[:_BRIEF]) for row in rows]


def show_rule(db: Database, rule_id: str) -> list[RuleDetail]:
    """Return every origin's rule with this id, with text and warnings."""
    rows = db.execute(f"{_SUMMARY} WHERE r.rule_id = ? ORDER BY r.origin", [rule_id])
    return [
        msgspec.structs.replace(
            RuleDetail(*row[:_BRIEF]),
            warnings=msgspec.json.decode(row[_BRIEF], type=list[RuleProblem]),
            text=row[_BRIEF + 1],
        )
        for row in rows
    ]
