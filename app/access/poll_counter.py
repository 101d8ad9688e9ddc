"""Polls that found nothing new, counted in memory: one audit entry per key and hour, not one per poll."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlite_utils import Database

from app.access import audit_store
from app.access.key_store import find_key, holder_of
from app.access.principal import LOCAL
from app.http.timestamps import to_text

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class PollCount:
    """How often one key polled in the hour that began at `hour`."""

    key_id: str
    hour: datetime
    polls: int


class PollCounter:
    """Counts polls per key and hour; what is not yet flushed is lost in a crash."""

    def __init__(self) -> None:
        self._hour: datetime | None = None
        self._current: Counter[str] = Counter()
        self._done: list[PollCount] = []

    def count(self, key_id: str, now: datetime) -> None:
        """Count one poll; costs no I/O."""
        if self._hour is None or not self._hour <= now < self._hour + HOUR:
            self._close_hour()
            self._hour = now.replace(minute=0, second=0, microsecond=0)
        self._current[key_id] += 1

    def flush(self, now: datetime, force: bool = False) -> list[PollCount]:
        """Take the counts of finished hours; with `force` (at shutdown) those of the running hour too."""
        if force or (self._hour is not None and now >= self._hour + HOUR):
            self._close_hour()
        done, self._done = self._done, []
        return done

    def _close_hour(self) -> None:
        if self._hour is not None:
            self._done += [PollCount(key, self._hour, polls) for key, polls in self._current.items()]
        self._hour = None
        self._current = Counter()


def append_polls(db: Database, counts: Iterable[PollCount], now: datetime) -> None:
    """Write counts to the audit log, one entry `rules.unchanged` each; only the local operator has no record."""
    for count in counts:
        record = find_key(db, count.key_id)
        principal = LOCAL if record is None else holder_of(record, "")
        audit_store.append(
            db,
            at=now,
            actor=principal.actor,
            action="rules.unchanged",
            target=count.key_id,
            detail={"hour": to_text(count.hour), "polls": count.polls},
        )
