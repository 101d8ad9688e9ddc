"""The transactions that end a pull: rules of an upstream come into service, or out of it, or nothing happens."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlite_utils import Database

from app.access import audit
from app.federation import pending_store, store, versions_store
from app.federation.decide import Change, ChangeKind, Decision, Terms, Text, decide
from app.federation.offer import Fit, Unfit, settle
from app.federation.sources.collected import Collected, Failure
from app.federation.status import PullFailure, PullResult
from app.federation.upstream import UpstreamBase
from app.http.timestamps import to_text
from app.overlay.store import settle as settle_overlay
from app.rules.store import hold_rule, withdraw, yield_id

AUTOMATIC = "federation"
"""How the audit log names pulls, which nobody in particular asks for."""

MAX_NAMED = 100
"""Rules that an audit entry names; it counts all of them."""

Audit = Callable[[Database, PullResult], Any]
"""Writes an audit entry, in the transaction that lands what it is about."""


@dataclass(frozen=True, slots=True)
class Landed:
    """What a landing did; `is_news` says that the set to publish may be another one now."""

    result: PullResult
    is_news: bool = False


def land(
    db: Database,
    upstream: UpstreamBase,
    collected: Collected,
    fit: Sequence[Fit],
    unfit: Sequence[Unfit],
    now: datetime,
    audit_as: Audit | None = None,
) -> Landed:
    """Take over an answer that was read whole; the texts of `fit` are kept already.

    An audit entry is written if something changed, or by `audit_as`, in any case.
    """
    at, name = to_text(now), upstream.name
    had_failed = store.load_row(db, name).failure is not None
    if collected.outcome == "unchanged":
        versions_store.touch(db, name, collected.label, at)
        store.note_success(db, name, at, memory=collected.memory)
        result = PullResult(
            outcome="unchanged",
            held=pending_store.counts(db, name)[0],
            set_aside=len(store.set_aside_of(db, name)),
        )
        _note(db, name, result, {}, now, audit_as, is_worth=had_failed)
        return Landed(result)
    in_service = store.in_service(db, upstream.origin)
    base = _base(db, name, collected)
    offer = settle(fit, unfit, collected.set_aside, in_service.keys(), base)
    refused, stopped = pending_store.refused(db, name), pending_store.stopped(db, name)
    decision = decide(in_service, offer.rules, offer.kept, terms_of(upstream), refused, stopped)
    version = versions_store.note(db, name, collected.label, offer.rules, at)
    versions_store.bring_up(db, upstream.origin, version)
    held_before = pending_store.digest(db, name)
    pending_store.replace(db, name, decision, version, at)
    put_in_service(db, upstream, [(change, version) for change in decision.apply], at)
    filtered = store.apply_filters(db, upstream)
    overlaid = settle_overlay(db, at)
    store.note_success(
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
    _note(db, name, result, _named(decision, collected.label), now, audit_as, is_worth=is_worth)
    return Landed(result, is_news=bool(decision.apply) or filtered > 0 or overlaid)


def fail(
    db: Database,
    upstream: UpstreamBase,
    failure: Failure,
    now: datetime,
    audit_as: Audit | None = None,
) -> tuple[PullResult, bool]:
    """Record that a pull brought nothing; all else stays. Also says whether it failed otherwise the time before."""
    before = store.load_row(db, upstream.name)
    failures = store.note_failure(db, upstream.name, failure, to_text(now))
    result = PullResult(
        outcome="failed",
        held=pending_store.counts(db, upstream.name)[0],
        set_aside=len(store.set_aside_of(db, upstream.name)),
        failure=PullFailure(failure.code, failure.message, failures),
    )
    is_new = before.failure != failure.code
    detail = {"failure": failure.code, "message": failure.message}
    _note(db, upstream.name, result, detail, now, audit_as, is_worth=is_new)
    return result, is_new


def put_in_service(
    db: Database, upstream: UpstreamBase, changes: Iterable[tuple[Change, int | None]], at: str
) -> None:
    """Apply these changes, each of which came with this version; a community rule gives its id up."""
    for change, version in changes:
        if change.text is None:
            withdraw(db, origin=upstream.origin, rule_id=change.rule_id, reason="upstream dropped it", at=at)
            continue
        yield_id(db, change.rule_id, at)
        hold_rule(
            db,
            origin=upstream.origin,
            rule_id=change.rule_id,
            digest=change.text.digest,
            state="active",
            at=at,
            source=change.text.source,
            version=version,
        )


def terms_of(upstream: UpstreamBase) -> Terms:
    """What the configuration lets this upstream change by itself."""
    return Terms(upstream.policy, upstream.max_withdrawn_percent, upstream.max_changed_percent)


def _base(db: Database, name: str, collected: Collected) -> dict[str, Text]:
    """What was offered before and still is, for an answer that says only what changed since."""
    if not collected.is_partial:
        return {}
    before = versions_store.rules_of(db, store.adopted_version(db, name))
    return {rule_id: text for rule_id, text in before.items() if rule_id not in {*collected.withdrawn}}


def _named(decision: Decision, label: str) -> dict[str, Any]:
    """What an audit entry says besides the numbers: which rules, and why some are held."""
    kinds: tuple[ChangeKind, ...] = ("added", "changed", "withdrawn")
    rules = {kind: list(_ids(decision.apply, kind)[:MAX_NAMED]) for kind in kinds}
    named: dict[str, Any] = {"label": label, "rules": {kind: ids for kind, ids in rules.items() if ids}}
    return named | ({"reasons": list(decision.reasons)} if decision.reasons else {})


def _note(
    db: Database,
    name: str,
    result: PullResult,
    detail: Mapping[str, Any],
    now: datetime,
    audit_as: Audit | None,
    *,
    is_worth: bool,
) -> None:
    if audit_as is not None:
        audit_as(db, result)
    elif is_worth:
        numbers = {
            "outcome": result.outcome,
            "added": result.added,
            "changed": result.changed,
            "withdrawn": result.withdrawn,
            "held": result.held,
            "setAside": result.set_aside,
        }
        audit.append(
            db, at=now, actor=AUTOMATIC, action="upstream.pull", target=name, detail={**numbers, **detail}
        )


def _ids(changes: Iterable[Change], kind: ChangeKind) -> tuple[str, ...]:
    return tuple(change.rule_id for change in changes if change.kind == kind)
