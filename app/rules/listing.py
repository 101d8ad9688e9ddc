"""Queries for looking at held rules."""

from typing import Any

import msgspec
from sqlite_utils import Database

from app.http.paging import Page

FILTERS = ("origin", "state", "category", "severity")
_SUMMARY = (
    "SELECT r.rule_id, r.origin, r.state, t.title, t.category, t.severity, t.mitre_techniques, t.tags,"
    " r.digest, r.pattern_hash, r.reason, r.first_seen, r.changed_at, t.guard_refusal,"
    " r.source, v.label, r.excluded, t.warnings, t.text"
    " FROM rule r JOIN rule_text t ON t.digest = r.digest LEFT JOIN upstream_version v ON v.id = r.version"
)
_BRIEF = 17
"""Columns of a summary: all but warnings and text."""


class Shown(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One held rule as people see it.

    Of an upstream's rule, `source` is its provenance on the wire, `upstream_version` the label of the newest version
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
    warnings: list[Any] = []
    text: str = ""


def list_rules(db: Database, page: Page, wanted: dict[str, str]) -> list[Shown]:
    """Held rules by id, without their texts; `wanted` are exact matches of `FILTERS`."""
    clauses = [f"{name} = :{name}" for name in FILTERS if name in wanted]
    values: dict[str, Any] = {**wanted, "limit": page.limit}
    if page.after is not None:
        clauses.append("(r.rule_id, r.origin) > (:after_id, :after_origin)")
        values["after_id"], values["after_origin"] = page.after
    where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
    rows = db.execute(f"{_SUMMARY}{where} ORDER BY r.rule_id, r.origin LIMIT :limit", values)
    return [Shown(*row[:_BRIEF]) for row in rows]


def show_rule(db: Database, rule_id: str) -> list[Shown]:
    """Every origin's rule with this id, with text and warnings."""
    rows = db.execute(f"{_SUMMARY} WHERE r.rule_id = ? ORDER BY r.origin", [rule_id])
    return [
        msgspec.structs.replace(
            Shown(*row[:_BRIEF]), warnings=msgspec.json.decode(row[_BRIEF]), text=row[_BRIEF + 1]
        )
        for row in rows
    ]
