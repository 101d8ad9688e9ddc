"""The transactions that end a pull: rules of an upstream come into service, or out of it, or nothing happens."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlite_utils import Database

from app.access import audit_store
from app.federation import pending_store, store, versions_store
from app.federation.decide import Change, ChangeKind, PullDecision, TextRef, decide, limits_of
from app.federation.offer import AcceptedItem, RejectedItem, resolve_offer
from app.federation.sources.collected import Collected, Failure
from app.federation.status import PullFailure, PullResult
from app.federation.upstream import UpstreamBase
from app.http.timestamps import to_text
from app.overlay.entries import recompute_overlay
from app.rules.store import store_rule, withdraw, yield_id

AUTOMATIC = "federation"
"""How the audit log names pulls, which no particular person asks for."""

MAX_NAMED = 100
"""Rules that an audit entry names; it counts all of them."""

WriteAudit = Callable[[Database, PullResult], Any]
"""Writes an audit entry, in the transaction that applies what the entry is about."""


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What was applied; `may_change_set` says that the set to publish may be another one now."""

    result: PullResult
    may_change_set: bool = False


def apply_answer(
    db: Database,
    upstream: UpstreamBase,
    collected: Collected,
    accepted: Sequence[AcceptedItem],
    rejected: Sequence[RejectedItem],
    now: datetime,
    write_audit: WriteAudit | None = None,
) -> ApplyResult:
    """Take over an answer that was read whole; the texts of `accepted` are stored already.

    An audit entry is written if something changed, or by `write_audit`, in any case.
    """
    at, name = to_text(now), upstream.name
    had_failed = store.load_row(db, name).failure is not None
    if collected.outcome == "unchanged":
        versions_store.record_seen(db, name, collected.label, at)
        store.record_success(db, name, at, memory=collected.memory)
        result = _nothing_new(db, name)
        _audit(db, name, result, {}, now, write_audit, is_worth=had_failed)
        return ApplyResult(result)
    in_service = store.in_service(db, upstream.origin)
    base = _base(db, name, collected)
    offer = resolve_offer(accepted, rejected, collected.set_aside, in_service.keys(), base)
    seen = pending_store.rejected(db, name), pending_store.guarded(db, name)
    decision = decide(in_service, offer.rules, offer.kept, limits_of(upstream), *seen)
    version = versions_store.record_version(db, name, collected.label, offer.rules, at)
    versions_store.move_up(db, upstream.origin, version)
    held_before = pending_store.digest(db, name)
    pending_store.replace_held(db, name, decision, version, at)
    apply_changes(db, upstream, [(change, version) for change in decision.apply], at)
    filtered = store.apply_filters(db, upstream)
    overlaid = recompute_overlay(db, at)
    store.record_success(
        db,
        name,
        at,
        memory=collected.memory,
        version=version,
        set_aside=offer.set_aside,
        changed=bool(decision.apply),
    )
    result = PullResult(
        outcome="changed" if decision.apply else "held" if decision.held else "unchanged",
        added=len(_ids(decision.apply, "added")),
        changed=len(_ids(decision.apply, "changed")),
        withdrawn=len(_ids(decision.apply, "withdrawn")),
        held=len(decision.held),
        set_aside=len(offer.set_aside),
    )
    is_worth = had_failed or bool(decision.apply) or pending_store.digest(db, name) != held_before
    _audit(db, name, result, _named(decision, collected.label), now, write_audit, is_worth=is_worth)
    return ApplyResult(result, may_change_set=bool(decision.apply) or filtered > 0 or overlaid)


def record_failure(
    db: Database,
    upstream: UpstreamBase,
    failure: Failure,
    now: datetime,
    write_audit: WriteAudit | None = None,
) -> tuple[PullResult, bool]:
    """Record that a pull brought nothing; all else stays. Also return whether it failed otherwise the time before."""
    before = store.load_row(db, upstream.name)
    failures = store.record_failure(db, upstream.name, failure, to_text(now))
    result = msgspec.structs.replace(
        _nothing_new(db, upstream.name),
        outcome="failed",
        failure=PullFailure(failure.code, failure.message, failures),
    )
    is_new = before.failure != failure.code
    detail = {"failure": failure.code, "message": failure.message}
    _audit(db, upstream.name, result, detail, now, write_audit, is_worth=is_new)
    return result, is_new


def apply_changes(
    db: Database, upstream: UpstreamBase, changes: Iterable[tuple[Change, int | None]], at: str
) -> None:
    """Apply these changes, each of which came with this version; a community rule gives its id up."""
    for change, version in changes:
        if change.text is None:
            withdraw(db, origin=upstream.origin, rule_id=change.rule_id, reason="upstream dropped it", at=at)
            continue
        yield_id(db, change.rule_id, at)
        store_rule(
            db,
            origin=upstream.origin,
            rule_id=change.rule_id,
            digest=change.text.digest,
            state="active",
            at=at,
            source=change.text.source,
            version=version,
        )


def _nothing_new(db: Database, name: str) -> PullResult:
    """Return the result of a pull that brought nothing: what waited and was set aside before still is."""
    held, _ = pending_store.counts(db, name)
    return PullResult(outcome="unchanged", held=held, set_aside=len(store.set_aside_of(db, name)))


def _base(db: Database, name: str, collected: Collected) -> dict[str, TextRef]:
    """Return what was offered before and still is, for an answer that says only what changed since."""
    if not collected.is_partial:
        return {}
    before = versions_store.rules_of(db, store.adopted_version(db, name))
    return {rule_id: text for rule_id, text in before.items() if rule_id not in {*collected.withdrawn}}


def _named(decision: PullDecision, label: str) -> dict[str, Any]:
    """Return what an audit entry says besides the numbers: which rules, and why some are held."""
    kinds: tuple[ChangeKind, ...] = ("added", "changed", "withdrawn")
    rules = {kind: list(_ids(decision.apply, kind)[:MAX_NAMED]) for kind in kinds}
    named: dict[str, Any] = {"label": label, "rules": {kind: ids for kind, ids in rules.items() if ids}}
    return named | ({"reasons": list(decision.reasons)} if decision.reasons else {})


def _audit(
    db: Database,
    name: str,
    result: PullResult,
    detail: Mapping[str, Any],
    now: datetime,
    write_audit: WriteAudit | None,
    *,
    is_worth: bool,
) -> None:
    if write_audit is not None:
        write_audit(db, result)
    elif is_worth:
        numbers = {
            "outcome": result.outcome,
            "added": result.added,
            "changed": result.changed,
            "withdrawn": result.withdrawn,
            "held": result.held,
            "setAside": result.set_aside,
        }
        audit_store.append(
            db, at=now, actor=AUTOMATIC, action="upstream.pull", target=name, detail={**numbers, **detail}
        )


def _ids(changes: Iterable[Change], kind: ChangeKind) -> tuple[str, ...]:
    return tuple(change.rule_id for change in changes if change.kind == kind)
