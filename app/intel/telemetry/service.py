"""`Telemetry`: counts what tools report of their own use, and sums it up."""

from datetime import datetime

from sqlite_utils import Database

from app.access.principal import Principal, Role
from app.fleet.agents import SelfReport
from app.fleet.store import keep_report
from app.http.timestamps import to_text
from app.intel.telemetry import store
from app.intel.telemetry.store import (
    ActivationTotals,
    NewActivation,
    ScanEvent,
    ScanTotals,
    TelemetryEvent,
    TelemetryTotals,
    UsageEvent,
    UsageTotals,
)
from app.privacy.anonymisation import Pseudonyms, bounded
from app.storage import Storage

MAX_VERSION = 32


class Telemetry:
    """Reports of tools. Every method that counts something returns when it is durable."""

    def __init__(self, storage: Storage, pseudonyms: Pseudonyms) -> None:
        self._storage = storage
        self._pseudonyms = pseudonyms

    async def count_scan(self, event: ScanEvent, principal: Principal, now: datetime) -> None:
        """Count what a scanner looked at and found, and the device it ran on."""
        subject = _identity(principal)
        await self._storage.write(lambda db: store.record_scan(db, event, subject, self._pseudonyms, now))

    async def scan_totals(self) -> dict[str, ScanTotals]:
        """Return totals by kind of scanner."""
        return await self._storage.read(store.scan_totals)

    async def count_event(self, event: TelemetryEvent, now: datetime) -> None:
        """Count one event of a tool."""
        await self._storage.write(lambda db: store.record_telemetry(db, event, now))

    async def event_totals(self, now: datetime) -> TelemetryTotals:
        """Return totals of telemetry."""
        return await self._storage.read(lambda db: store.telemetry_totals(db, now))

    async def count_use(self, event: UsageEvent, now: datetime) -> None:
        """Count one use of a tool."""
        await self._storage.write(lambda db: store.record_usage(db, event, now))

    async def usage_totals(self, now: datetime) -> UsageTotals:
        """Return totals of use, and the trend of 30 days."""
        return await self._storage.read(lambda db: store.usage_totals(db, now))

    async def count_activation(self, activation: NewActivation, principal: Principal, now: datetime) -> bool:
        """Count a client's first start; return False when it was counted before.

        An agent's own key also tells which host of the fleet has this version.
        """
        version = bounded(activation.panguard_version or "", MAX_VERSION) or None

        def work(db: Database) -> bool:
            if principal.role is Role.AGENT and version is not None:
                keep_report(db, principal.key_id, SelfReport(version=version), to_text(now))
            return store.record_activation(db, activation, _identity(principal), self._pseudonyms, now)

        return await self._storage.write(work)

    async def activation_totals(self) -> ActivationTotals:
        """Return totals of activations, and the newest."""
        return await self._storage.read(store.activation_totals)


def _identity(principal: Principal) -> str | None:
    """Return the identity behind a report; None for a report without a key, behind which nobody stands."""
    return None if principal.role is None else principal.subject
