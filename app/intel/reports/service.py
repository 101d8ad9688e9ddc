"""`Reports`: keeps threat events, counts what cannot be kept, and passes exact addresses on to the indicators."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlite_utils import Database

from app.http.paging import Page
from app.http.timestamps import to_text
from app.intel.indicators.service import Indicators
from app.intel.indicators.store import RecordedSightings
from app.intel.policy import IntelPolicy
from app.intel.reporter import Reporter
from app.intel.reports import store
from app.intel.reports.events import Channel, Threat
from app.intel.reports.store import StoredThreat
from app.intel.telemetry import counters_store
from app.privacy.anonymisation import to_hour
from app.storage import Storage


@dataclass(frozen=True, slots=True)
class ReceivedEvents:
    """The events of one request: `threats` are kept; `clean` and `sealed` count events that are not stored.

    Sealed reports are kept as they came where the policy says so.
    """

    threats: Sequence[Threat]
    clean: int = 0
    sealed: Sequence[Any] = ()


class Reports:
    """The threat events. `keep` returns when they are durable."""

    def __init__(self, storage: Storage, policy: IntelPolicy, indicators: Indicators) -> None:
        self._storage = storage
        self._policy = policy
        self._indicators = indicators

    async def keep(
        self, channel: Channel, received: ReceivedEvents, reporter: Reporter, now: datetime
    ) -> None:
        """Store events, count what cannot be stored, and record which exact public addresses were reported."""
        hour = to_text(to_hour(now))
        found = [
            (threat.exact_source, threat.attack_type)
            for threat in received.threats
            if threat.exact_source is not None
        ]
        counts = {
            counters_store.THREATS: len(received.threats),
            counters_store.CLEAN: received.clean,
            counters_store.SEALED: len(received.sealed),
            counters_store.KEYLESS: int(reporter.subject is None),
        }

        def work(db: Database) -> RecordedSightings:
            counters_store.add_hourly(db, hour, counts)
            store.keep_threats(db, channel, received.threats, reporter, hour)
            if self._policy.keep_sealed:
                store.keep_sealed(db, received.sealed, reporter, hour)
            return self._indicators.record_sightings(db, found, reporter, now)

        self._indicators.note(await self._storage.write(work))

    async def list_threats(self, page: Page, channel: Channel | None) -> list[StoredThreat]:
        """Return kept events, newest first: up to one more than `page.limit`, if there are more."""
        return await self._storage.read(lambda db: store.list_threats(db, page, channel))
