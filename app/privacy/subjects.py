"""Export and erasure of everything tied to one client.

Two kinds of records stay in any case: the key records (they decide whether a key is valid, and name nobody but the
client itself) and the audit log (nothing can be deleted from it). The answer says how many of each there are. To end
a client for good, revoke its keys too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlite_utils import Database

from app.access import audit_store
from app.access.principal import Actor
from app.http.timestamps import to_text
from app.privacy.personal_data import PersonalData, Rows
from app.privacy.store import count_kept, rows_of_subject
from app.storage import Storage


class ExportedSubject(msgspec.Struct, frozen=True):
    """All rows tied to one client by class of data, and how many there are of each."""

    subject: str
    rows: dict[str, int]
    data: dict[str, Rows]


class ErasedSubject(msgspec.Struct, frozen=True):
    """How many rows of each class of data are gone, and how many of what cannot be deleted are left."""

    subject: str
    erased: dict[str, int]
    kept: dict[str, int]


class Subjects:
    """Exports and erases clients over the data of several capabilities; calls `on_erased` after an erasure."""

    def __init__(self, storage: Storage, data: Sequence[PersonalData], on_erased: Callable[[], None]) -> None:
        self._storage = storage
        self._data = data
        self._on_erased = on_erased

    async def export(self, subject: str, actor: Actor) -> ExportedSubject | None:
        """Return everything tied to a client, None for an unknown one; the export is audited."""
        found = await self._storage.read(lambda db: self._rows(db, subject))
        if not found:
            return None
        exported = ExportedSubject(subject, {name: len(rows) for name, rows in found.items()}, found)
        detail = {"rows": exported.rows}
        await self._storage.write(lambda db: _audit(db, actor, "subject.export", subject, detail))
        return exported

    async def erase(self, subject: str, actor: Actor) -> ErasedSubject | None:
        """Delete all of that and recompute what rested on it; None for an unknown client. Audited.

        Votes go too, so an undecided proposal or a listed skill may fall below its threshold. What was promoted stays
        promoted.
        """

        def work(db: Database) -> ErasedSubject | None:
            if not self._rows(db, subject):
                return None
            erased: dict[str, int] = {}
            for part in self._data:
                erased |= part.erase(db, subject, to_text(actor.at))
            gone = {name: rows for name, rows in erased.items() if rows}
            _audit(db, actor, "subject.erase", subject, {"erased": gone})
            return ErasedSubject(subject, gone, count_kept(db, subject))

        done = await self._storage.write(work)
        if done is not None:
            self._on_erased()
        return done

    def _rows(self, db: Database, subject: str) -> dict[str, Rows]:
        """Return every row of every class, as it is stored; a class without one is left out."""
        found = {"keys": rows_of_subject(db, "key", subject)}
        for part in self._data:
            found |= part.export(db, subject)
        return {name: rows for name, rows in found.items() if rows}


def _audit(db: Database, actor: Actor, action: str, subject: str, detail: dict[str, Any]) -> None:
    audit_store.append(
        db,
        at=actor.at,
        actor=actor.name,
        action=action,
        target=subject,
        detail=detail,
        address=actor.address,
    )
