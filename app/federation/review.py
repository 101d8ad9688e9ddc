"""What an admin decides of held changes: the decision, its effect and its audit entry are one transaction."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlite_utils import Database

from app.access import audit
from app.access.principal import Actor
from app.federation import held, store
from app.federation.landing import MAX_NAMED, put_in_service
from app.federation.upstream import UpstreamBase
from app.http.timestamps import to_text
from app.overlay.store import settle as settle_overlay


def approve(
    db: Database,
    upstream: UpstreamBase,
    rule_ids: Collection[str] | None,
    actor: Actor,
    reason: str | None,
    digest: str | None,
) -> list[str]:
    """Apply held changes, all or those of the rules named; returns the ids.

    One that was refused is applied too when it is named. Raises `HeldMoved`, `UnknownChange`.
    """
    at = to_text(actor.at)
    chosen = held.choose(db, upstream.name, rule_ids, digest, "held", "refused")
    ids = [change.rule_id for change, _ in chosen]
    if ids:
        put_in_service(db, upstream, chosen, at)
        held.forget(db, upstream.name, ids)
        store.apply_filters(db, upstream)
        settle_overlay(db, at)
        store.note_change(db, upstream.name, at)
        _note(db, upstream, "upstream.approve", ids, actor, reason)
    return ids


def refuse(
    db: Database,
    upstream: UpstreamBase,
    rule_ids: Collection[str] | None,
    actor: Actor,
    reason: str,
    digest: str | None,
) -> list[str]:
    """Refuse held changes, all or those of the rules named; returns the ids.

    They are not held again while upstream offers the same. Raises `HeldMoved`, `UnknownChange`.
    """
    chosen = held.choose(db, upstream.name, rule_ids, digest, "held")
    ids = [change.rule_id for change, _ in chosen]
    if ids:
        held.refuse(db, upstream.name, ids, actor.name, reason, to_text(actor.at))
        _note(db, upstream, "upstream.refuse", ids, actor, reason)
    return ids


def _note(
    db: Database, upstream: UpstreamBase, action: str, ids: Sequence[str], actor: Actor, reason: str | None
) -> None:
    detail: dict[str, Any] = {"count": len(ids), "rules": list(ids[:MAX_NAMED])}
    audit.append(
        db,
        at=actor.at,
        actor=actor.name,
        action=action,
        target=upstream.name,
        detail=detail | ({"reason": reason} if reason else {}),
        address=actor.address,
    )
