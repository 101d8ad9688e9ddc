"""What is known of pulls and upstreams: progress, result, the status of an upstream, and hints."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec
from sqlite_utils import Database

from app.federation import pending_store, store
from app.federation.schedule import stale_after
from app.federation.sources.collected import FailureCode
from app.federation.upstream import BundleUpstream, Policy, Upstream
from app.http.timestamps import from_text

UpstreamState = Literal["never", "ok", "failing", "stale"]
PullState = Literal["waiting", "collecting", "looking", "landing", "publishing", "done", "failed"]
PullOutcome = Literal["changed", "unchanged", "held", "failed"]


class PullFailure(msgspec.Struct, frozen=True):
    """Why a pull failed, and how many have failed in a row with it."""

    code: FailureCode
    message: str
    failures: int


class PullResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a pull did: numbers of rules.

    `held` is how many changes wait for an admin now, `set_aside` how many offered rules are not taken; `outcome` is
    `held` when this pull's changes wait, `unchanged` when there were none.
    """

    outcome: PullOutcome
    added: int = 0
    changed: int = 0
    withdrawn: int = 0
    held: int = 0
    set_aside: int = 0
    failure: PullFailure | None = None
    seconds: float = 0.0


class PullProgress(msgspec.Struct, kw_only=True, rename="camel"):
    """A pull that waits, runs or has ended; `state` goes forward only, and `result` comes with its end."""

    id: str
    state: PullState = "waiting"
    received_bytes: int = 0
    texts: int = 0
    """Texts that have to be inspected, since they are not known."""
    looked: int = 0
    """Texts that have been inspected."""
    result: PullResult | None = None


class UpstreamStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One upstream: the result of its last pull, and what is in service from it.

    `state`: `never` had neither a success nor a failure, `failing` failed the last time, `stale` had no success for
    `stale_after` seconds (None: there is no limit). `paused` says why it is not pulled now. `rules`
    are in service, `excluded` of them kept out by a filter; `held` and `refused` are changes. `version` is what
    upstream calls the state that it offered last, since `version_since`. Instants are texts.
    """

    name: str
    kind: str
    policy: Policy
    priority: int
    state: UpstreamState
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
    """Return False for bundles that come by import alone."""
    return not isinstance(upstream, BundleUpstream) or upstream.path is not None


def read_status(db: Database, upstream: Upstream, paused: str | None, now: datetime) -> UpstreamStatus:
    """Return the status of one upstream at this instant."""
    row = store.load_row(db, upstream.name)
    rules, excluded = store.count_rules(db, upstream.origin)
    waiting, refused = pending_store.counts(db, upstream.name)
    label, since = store.version_of(db, upstream.name) or (None, None)
    age = None if row.succeeded_at is None else (now - from_text(row.succeeded_at)).total_seconds()
    # An import comes when it comes, unless the configuration says how often.
    limit = stale_after(upstream.every) if is_pulled(upstream) or upstream.interval is not None else None
    return UpstreamStatus(
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


def _state(failure: FailureCode | None, age: float | None, limit: int | None) -> UpstreamState:
    if failure is not None:
        return "failing"
    if age is None:
        return "never"
    return "stale" if limit is not None and age > limit else "ok"


HINTS: Mapping[FailureCode, str] = {
    "key": "Check that what `key` or `key_file` names is there, readable by the server's user, and a key.",
    "unreachable": "Check `url` and `proxy`, the name server and the firewall between here and there.",
    "tls": "Check `ca_file` and `client_certificate`, the host name in `url`, and the clock of this machine.",
    "timeout": "Raise `timeout`, or look at the network: a connection that was silent for 20 seconds counts too.",
    "status": "Upstream answered with an error of its own; the next pull tries again. Check `url` if it stays.",
    "unauthorized": "Upstream refused the key: ask for a new one, or check the role that it was issued with.",
    "too-fast": "Raise `interval`; the next pull waits as long as upstream asked for.",
    "redirect": "Write the address that upstream redirects to into `url`, once you know that it is the right one.",
    "content-type": "Something else than upstream answered, a sign-in page of a proxy say: check `url` and `proxy`.",
    "too-large": "Raise `max_bytes` if upstream has really grown that large.",
    "truncated": "The answer broke off; the next pull tries again. Look at proxies in between if it stays.",
    "not-json": "Check that `url` is a Threat Cloud, and that nothing in between rewrites answers.",
    "shape": "Check that `url` and `kind` belong together: this answer is of another kind of server.",
    "mixed-up": "Parts of the answer contradict each other: look for a cache in between that mixes answers up.",
    "replayed": "The answer is older than one before: look for a cache in between, or ask upstream whether it was "
    "restored from a backup.",
    "integrity": "What came is not what upstream announced: do not use it, and tell the operator of the registry.",
    "signature": "Not signed by a key in `key_file`: check where it comes from, or add the new key after a rotation.",
    "gap": "Import the bundles in between first, or one that was exported without `--since`.",
    "rollback": "This bundle is older than what was imported last; only `bundle import --force` takes it.",
    "not-found": "Check `path`, `package`, `version` or `url`: there is nothing there.",
    "unreadable": "Check that the server's user may read it, and that it is what `kind` says.",
    "worker": "The process that pulls died or took too long: see the log, and the memory that is free.",
}
"""What an admin can do about each way in which a pull fails, in one sentence or two for each code.

Option names are those of the upstream's `[[upstream]]` table. The command line, doctor and the guide all say this.
"""
