"""When each key was last used, and which publication it was served: kept in memory, written by a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Sighting:
    """One key since the last flush: when it was last used; which serial it was last served and when, if any."""

    key_id: str
    seen_at: datetime
    serial: int | None
    served_at: datetime | None


class Sightings:
    """Costs a poll one assignment into a dictionary each; what is not yet flushed is lost in a crash."""

    def __init__(self) -> None:
        self._seen: dict[str, datetime] = {}
        self._served: dict[str, tuple[int, datetime]] = {}

    def seen(self, key_id: str, now: datetime) -> None:
        """A valid key was used."""
        self._seen[key_id] = now

    def served(self, key_id: str, serial: int, now: datetime) -> None:
        """A key was given the rules of this publication, or told that it has them (304)."""
        self._served[key_id] = (serial, now)

    def flush(self) -> list[Sighting]:
        """Take everything since the last flush."""
        seen, served = self._seen, self._served
        self._seen, self._served = {}, {}
        return [Sighting(key_id, at, *served.get(key_id, (None, None))) for key_id, at in seen.items()]
