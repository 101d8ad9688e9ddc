"""An admin's decisions on pending changes: each decision, its effect and its audit entry are one transaction."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlite_utils import Database

from app.access import audit
from app.federation import pending_store, store
from app.federation.apply import MAX_NAMED, apply_changes
from app.federation.upstream import UpstreamBase
from app.http.timestamps import to_text
from app.overlay.store import settle as recompute_overlay


@dataclass(frozen=True, slots=True)
class By:
    """Who decides, as the audit log names them, from where and when."""

    actor: str
    address: str | None
    now: datetime


def approve(
    db: Database,
    upstream: UpstreamBase,
    rule_ids: Collection[str] | None,
    by: By,
    reason: str | None,
    digest: str | None,
) -> list[str]:
    """Apply held changes, all or those of the rules named; return the ids.

    One that was rejected is applied too when it is named. Raises `PendingChangesMoved`, `UnknownChange`.
    """
    at = to_text(by.now)
    chosen = pending_store.choose(db, upstream.name, rule_ids, digest, "held", "refused")
    ids = [change.rule_id for change, _ in chosen]
    if ids:
        apply_changes(db, upstream, chosen, at)
        pending_store.drop(db, upstream.name, ids)
        store.apply_filters(db, upstream)
        recompute_overlay(db, at)
        store.record_change(db, upstream.name, at)
        _audit(db, upstream, "upstream.approve", ids, by, reason)
    return ids


def reject(
    db: Database,
    upstream: UpstreamBase,
    rule_ids: Collection[str] | None,
    by: By,
    reason: str,
    digest: str | None,
) -> list[str]:
    """Reject held changes, all or those of the rules named; return the ids.

    They are not held again while upstream offers the same. Raises `PendingChangesMoved`, `UnknownChange`.
    """
    chosen = pending_store.choose(db, upstream.name, rule_ids, digest, "held")
    ids = [change.rule_id for change, _ in chosen]
    if ids:
        pending_store.reject(db, upstream.name, ids, by.actor, reason, to_text(by.now))
        _audit(db, upstream, "upstream.refuse", ids, by, reason)
    return ids


def _audit(
    db: Database, upstream: UpstreamBase, action: str, ids: Sequence[str], by: By, reason: str | None
) -> None:
    detail: dict[str, Any] = {"count": len(ids), "rules": list(ids[:MAX_NAMED])}
    audit.append(
        db,
        at=by.now,
        actor=by.actor,
        action=action,
        target=upstream.name,
        detail=detail | ({"reason": reason} if reason else {}),
        address=by.address,
    )
