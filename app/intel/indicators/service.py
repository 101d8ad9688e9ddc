"""`Indicators`: sightings in, feeds out, and an admin's entries in them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Literal

from sqlite_utils import Database

from app.access import audit_store
from app.access.networks import Networks
from app.access.principal import Actor
from app.consensus.policy import ConsensusPolicy
from app.http.paging import Page
from app.http.response_cache import ResponseCache
from app.http.timestamps import to_text
from app.intel.indicators import store
from app.intel.indicators.model import IndicatorKind
from app.intel.indicators.store import Indicator, RecordedSightings
from app.intel.reporter import Reporter
from app.privacy.anonymisation import Pseudonyms, to_hour
from app.storage import Storage


class Indicators:
    """The listed indicators. No address in `own`, the organisation's networks, is ever recorded or served.

    `listed` is reloaded after every change: at once for an admin's, within ten seconds for one by reports.
    """

    def __init__(
        self, storage: Storage, pseudonyms: Pseudonyms, consensus: ConsensusPolicy, own: Networks
    ) -> None:
        self.listed: ResponseCache[list[Indicator]] = ResponseCache(storage, self._load)
        self._storage = storage
        self._pseudonyms = pseudonyms
        self._consensus = consensus
        self._own = own
        self._due: dict[str, str] = {}

    def record_sightings(
        self, db: Database, found: Sequence[tuple[str, str]], reporter: Reporter, now: datetime
    ) -> RecordedSightings:
        """Record addresses, `(address, category)` each, in the caller's transaction; pass the result to `note`."""
        sightings = [(address, category) for address, category in found if not self._own.contains(address)]
        return store.record_sightings(
            db, sightings, reporter, to_text(to_hour(now)), to_text(now), self._consensus, self._pseudonyms
        )

    def note(self, recorded: RecordedSightings) -> None:
        """Note what recorded sightings changed or left to be counted, once they are durable."""
        self._due |= recorded.due
        if recorded.changed:
            self.listed.mark_stale()

    async def recount_due(self, now: datetime) -> None:
        """Count the indicators that too many have reported for counting them with each report."""
        due, self._due = self._due, {}
        for digest, value in due.items():
            count = partial(
                store.recount_indicator,
                kind="ip",
                digest=digest,
                value=value,
                at=to_text(now),
                policy=self._consensus,
            )
            if await self._storage.write(count):
                self.listed.mark_stale()

    async def list_page(
        self, page: Page, kind: IndicatorKind | None, origin: Literal["admin", "reports"] | None
    ) -> list[Indicator]:
        """Return the list by kind, value and origin: up to one more than `page.limit`, if there are more."""
        return await self._storage.read(lambda db: store.list_indicators(db, page, kind, origin))

    async def put(
        self,
        kind: IndicatorKind,
        value: str,
        *,
        reputation: int,
        category: str,
        reason: str | None,
        actor: Actor,
    ) -> Indicator:
        """Add or replace an admin's entry of a feed."""
        detail = {"kind": kind, "reputation": reputation, "category": category, "reason": reason}

        def work(db: Database) -> Indicator:
            entry = store.put_entry(
                db,
                kind,
                value,
                digest=store.digest_of(kind, value, self._pseudonyms),
                reputation=reputation,
                category=category,
                reason=reason,
                added_by=actor.name,
                at=to_text(actor.at),
            )
            _audit(db, actor, "indicator.add", value, detail)
            return entry

        entry = await self._storage.write(work)
        self.listed.invalidate()
        return entry

    async def delete(self, kind: IndicatorKind, value: str, actor: Actor) -> tuple[int, int]:
        """Take a value off its feed and delete its sightings; return rows of the list and sightings deleted."""

        def work(db: Database) -> tuple[int, int]:
            gone = store.delete_indicator(db, kind, value, store.digest_of(kind, value, self._pseudonyms))
            if any(gone):
                _audit(db, actor, "indicator.delete", value, {"entries": gone[0], "sightings": gone[1]})
            return gone

        gone = await self._storage.write(work)
        self.listed.invalidate()
        return gone

    def _load(self, db: Database) -> list[Indicator]:
        """Load the list without the organisation's own networks."""
        return [entry for entry in store.all_indicators(db) if not self._own.contains(entry.value)]


def _audit(db: Database, actor: Actor, action: str, value: str, detail: Mapping[str, object]) -> None:
    audit_store.append(
        db, at=actor.at, actor=actor.name, action=action, target=value, detail=detail, address=actor.address
    )
