"""When each key was last used, and which publication it was served: kept in memory, written by a job."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LastUse:
    """The last use of one key since the last flush; `serial` and `served_at` are None when it got no rules."""

    key_id: str
    seen_at: datetime
    serial: int | None
    served_at: datetime | None


class KeyActivity:
    """Records what each key did; a poll costs one assignment to a dictionary for each fact.

    What is not yet flushed is lost in a crash.
    """

    def __init__(self) -> None:
        self._seen: dict[str, datetime] = {}
        self._served: dict[str, tuple[int, datetime]] = {}

    def seen(self, key_id: str, now: datetime) -> None:
        """Record that a valid key was used."""
        self._seen[key_id] = now

    def served(self, key_id: str, serial: int, now: datetime) -> None:
        """Record that a key got the rules of this publication, or a 304 because it has them."""
        self._served[key_id] = (serial, now)

    def flush(self) -> list[LastUse]:
        """Take everything since the last flush."""
        seen, served = self._seen, self._served
        self._seen, self._served = {}, {}
        return [LastUse(key_id, at, *served.get(key_id, (None, None))) for key_id, at in seen.items()]
