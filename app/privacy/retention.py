"""Deletes what is older than `[retention]` allows; each class of data recomputes what rested on the deleted rows."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlite_utils import Database

from app.access import audit_store
from app.http.timestamps import to_text
from app.privacy.personal_data import Expiry, PersonalData
from app.privacy.policy import RetentionPolicy
from app.storage import Storage

AUTOMATIC = "retention"
"""The actor in the audit log for what is deleted because of its age."""


class Retention:
    """Purges the data of several capabilities; calls `on_purged` after a purge that deleted anything."""

    def __init__(
        self,
        storage: Storage,
        policy: RetentionPolicy,
        data: Sequence[PersonalData],
        on_purged: Callable[[], None],
    ) -> None:
        self._storage = storage
        self._policy = policy
        self._expiries = [expiry for part in data for expiry in part.expiries]
        self._on_purged = on_purged

    async def purge(self, now: datetime) -> dict[str, int]:
        """Delete what is too old, class by class and in batches; return how many rows of each went. Audited."""
        gone: dict[str, int] = {}
        for expiry in self._expiries:
            before = to_text(now - timedelta(days=expiry.days(self._policy)))
            deleted = 0
            purge = partial(_purge, expiry, before, to_text(now))
            while batch := await self._storage.write(purge):
                deleted += batch
            if deleted:
                gone[expiry.name] = deleted
        if gone:
            await self._storage.write(
                lambda db: audit_store.append(
                    db, at=now, actor=AUTOMATIC, action="retention.purge", detail=gone
                )
            )
            self._on_purged()
        return gone


def _purge(expiry: Expiry, before: str, at: str, db: Database) -> int:
    return expiry.purge(db, before, at)
