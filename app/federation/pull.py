"""Pulling: read what an upstream offers, then bring the rules held from it up to date, all or nothing."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlite_utils import Database

from app.federation import store
from app.federation.package import Offer, read_package
from app.federation.reconcile import Changes, reconcile
from app.federation.upstream import Upstream
from app.offload import Lane, LaneError
from app.rules.store import hold_rule, put_text, withdraw, yield_id
from app.storage import Storage
from app.wire.instants import to_text

log = logging.getLogger(__name__)

PULL_SECONDS = 120.0
"""Deadline for reading one upstream; 833 rules take about two seconds."""


@dataclass(frozen=True, slots=True)
class Federation:
    """The configured upstreams."""

    storage: Storage
    upstreams: Sequence[Upstream]

    async def pull_all(self, now: datetime) -> None:
        """Pull every upstream; one that fails keeps its last good set and does not hinder the others."""
        lane = Lane(PULL_SECONDS)
        try:
            for upstream in self.upstreams:
                await self._pull(upstream, lane, now)
        finally:
            await lane.close()
        configured = {upstream.origin for upstream in self.upstreams}
        await self.storage.write(lambda db: store.withdraw_unconfigured(db, configured, to_text(now)))

    async def _pull(self, upstream: Upstream, lane: Lane, now: datetime) -> None:
        try:
            offer = await lane.call(read_package, upstream.package)
        except LaneError as error:
            offer = Offer(error=str(error))
        if offer.error is not None:
            error_text = offer.error
            log.warning("pull failed", extra={"upstream": upstream.name, "error": error_text})
            await self.storage.write(
                lambda db: store.note_failure(db, upstream.name, error_text, to_text(now))
            )
            return
        changes = await self.storage.write(lambda db: _apply(db, upstream, offer, to_text(now)))
        log.info(
            "pulled",
            extra={
                "upstream": upstream.name,
                "rules": len(offer.rules),
                "added": len(changes.added),
                "changed": len(changes.changed),
                "withdrawn": len(changes.withdrawn),
                "set_aside": len(offer.set_aside),
            },
        )


def _apply(db: Database, upstream: Upstream, offer: Offer, at: str) -> Changes:
    offered = {rule.inspection.facts.rule_id: rule for rule in offer.rules if rule.inspection.facts}
    digests = {rule_id: rule.inspection.text_digest for rule_id, rule in offered.items()}
    changes = reconcile(store.held_digests(db, upstream.origin), digests)
    for rule_id in (*changes.added, *changes.changed):
        rule = offered[rule_id]
        yield_id(db, rule_id, at)
        digest = put_text(db, rule.inspection, rule.text)
        hold_rule(db, origin=upstream.origin, rule_id=rule_id, digest=digest, state="active", at=at)
    for rule_id in changes.withdrawn:
        withdraw(db, origin=upstream.origin, rule_id=rule_id, reason="upstream dropped it", at=at)
    store.note_success(db, upstream.name, offer.set_aside, at, changed=bool(changes))
    return changes
