"""The interface through which `retention` and `subjects` reach what each capability keeps of clients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from app.privacy.policy import RetentionPolicy

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Expiry:
    """One class of data that is deleted by age.

    `name` is the class in the audit log, `days` how long it is kept. `purge(db, before, at)` deletes one batch of
    rows older than the instant `before`, recomputes at the instant `at` what rested on them, and returns how many
    rows it deleted: 0 when none is left.
    """

    name: str
    days: Callable[[RetentionPolicy], int]
    purge: Callable[[Database, str, str], int]


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What one capability keeps of clients; both functions work inside the caller's transaction.

    `export(db, subject)` returns the rows of each class as they are stored. `erase(db, subject, at)` deletes them,
    recomputes at the instant `at` what rested on them, and returns how many rows of each class are gone.
    """

    export: Callable[[Database, str], dict[str, Rows]]
    erase: Callable[[Database, str, str], dict[str, int]]
    expiries: tuple[Expiry, ...] = ()
