"""An admin's decisions on pending changes: each decision, its effect and its audit entry are one transaction."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlite_utils import Database

from app.access import audit_store
from app.access.principal import Actor
from app.federation import pending_store, store
from app.federation.apply import MAX_NAMED, apply_changes
from app.federation.upstream import UpstreamBase
from app.http.timestamps import to_text
from app.overlay.entries import recompute_overlay


def approve(
    db: Database,
    upstream: UpstreamBase,
    rule_ids: Collection[str] | None,
    actor: Actor,
    reason: str | None,
    digest: str | None,
) -> list[str]:
    """Apply held changes, all or those of the rules named; return the ids.

    One that was rejected is applied too when it is named. Raises `PendingChangesMoved`, `UnknownChange`.
    """
    at = to_text(actor.at)
    chosen = pending_store.choose(db, upstream.name, rule_ids, digest, "held", "refused")
    ids = [change.rule_id for change, _ in chosen]
    if ids:
        apply_changes(db, upstream, chosen, at)
        pending_store.drop(db, upstream.name, ids)
        store.apply_filters(db, upstream)
        recompute_overlay(db, at)
        store.record_change(db, upstream.name, at)
        _audit(db, upstream, "upstream.approve", ids, actor, reason)
    return ids


def reject(
    db: Database,
    upstream: UpstreamBase,
    rule_ids: Collection[str] | None,
    actor: Actor,
    reason: str,
    digest: str | None,
) -> list[str]:
    """Reject held changes, all or those of the rules named; return the ids.

    They are not held again while upstream offers the same. Raises `PendingChangesMoved`, `UnknownChange`.
    """
    chosen = pending_store.choose(db, upstream.name, rule_ids, digest, "held")
    ids = [change.rule_id for change, _ in chosen]
    if ids:
        pending_store.reject(db, upstream.name, ids, actor.name, reason, to_text(actor.at))
        _audit(db, upstream, "upstream.refuse", ids, actor, reason)
    return ids


def _audit(
    db: Database, upstream: UpstreamBase, action: str, ids: Sequence[str], actor: Actor, reason: str | None
) -> None:
    detail: dict[str, Any] = {"count": len(ids), "rules": list(ids[:MAX_NAMED])}
    audit_store.append(
        db,
        at=actor.at,
        actor=actor.name,
        action=action,
        target=upstream.name,
        detail=detail | ({"reason": reason} if reason else {}),
        address=actor.address,
    )
