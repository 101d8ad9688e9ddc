"""How an upstream is doing, for people and for monitoring."""

from datetime import datetime
from typing import Literal

import msgspec
from sqlite_utils import Database

from app.federation import held, store
from app.federation.progress import PullFailure
from app.federation.schedule import stale_after
from app.federation.sources.collected import FailureCode
from app.federation.upstream import BundleUpstream, Policy, Upstream
from app.http.timestamps import from_text

State = Literal["never", "ok", "failing", "stale"]


class Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One upstream: what came of its last pull, and what is in service from it.

    `state`: `never` had a success nor a failure, `failing` failed the last time, `stale` had no success for
    `stale_after` seconds (None: it may take as long as it likes). `paused` says why it is not pulled now. `rules`
    are in service, `excluded` of them kept out by a filter; `held` and `refused` are changes. `version` is what
    upstream calls the state that it offered last, since `version_since`. Instants are texts.
    """

    name: str
    kind: str
    policy: Policy
    priority: int
    state: State
    paused: str | None
    rules: int
    excluded: int
    set_aside: int
    held: int
    refused: int
    version: str | None
    version_since: str | None
    last_pull: str | None
    last_success: str | None
    last_change: str | None
    next_pull: str | None
    failure: PullFailure | None
    pull_seconds: float | None
    stale_seconds: float | None
    stale_after: int | None


def is_pulled(upstream: Upstream) -> bool:
    """False for bundles that come by import alone."""
    return not isinstance(upstream, BundleUpstream) or upstream.path is not None


def read_status(db: Database, upstream: Upstream, paused: str | None, now: datetime) -> Status:
    """The status of one upstream at this instant."""
    row = store.load_row(db, upstream.name)
    rules, excluded = store.count_rules(db, upstream.origin)
    waiting, refused = held.counts(db, upstream.name)
    label, since = store.version_of(db, upstream.name) or (None, None)
    age = None if row.succeeded_at is None else (now - from_text(row.succeeded_at)).total_seconds()
    # An import comes when it comes, unless the configuration says how often.
    limit = stale_after(upstream.every) if is_pulled(upstream) or upstream.interval is not None else None
    return Status(
        name=upstream.name,
        kind=upstream.kind,
        policy=upstream.policy,
        priority=upstream.priority,
        state=_state(row.failure, age, limit),
        paused=paused if is_pulled(upstream) else None,
        rules=rules,
        excluded=excluded,
        set_aside=len(store.set_aside_of(db, upstream.name)),
        held=waiting,
        refused=refused,
        version=label,
        version_since=since,
        last_pull=row.checked_at,
        last_success=row.succeeded_at,
        last_change=row.changed_at,
        next_pull=row.next_at if is_pulled(upstream) else None,
        failure=PullFailure(row.failure, row.error or "", row.failures) if row.failure else None,
        pull_seconds=row.pull_seconds,
        stale_seconds=age,
        stale_after=limit,
    )


def _state(failure: FailureCode | None, age: float | None, limit: int | None) -> State:
    if failure is not None:
        return "failing"
    if age is None:
        return "never"
    return "stale" if limit is not None and age > limit else "ok"
