"""Counting again what votes amount to, after a key was revoked or the terms of independence changed.

A vote counts while its identity has a valid key, and a revocation reports nothing: so a job looks for it. After a
change of `[consensus]`, everything is counted again.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import msgspec
from sqlite_utils import Database

from app.consensus.policy import ConsensusPolicy
from app.http.timestamps import from_text, to_text
from app.intel.indicators.model import Kind
from app.intel.indicators.store import digests_of, listed_digests, recount_indicator
from app.intel.skills.recount import VoteCounter
from app.intel.skills.store import all_names, names_of, recount_skill
from app.storage import Storage

T = TypeVar("T")
_NAME = "intel_counted"
_BATCH = 20
_LATE = timedelta(minutes=5)
"""A revocation bears the instant of its request, and is written a little later."""


class _Counted(msgspec.Struct, frozen=True):
    """Under what terms everything was counted, and when."""

    admin_issued: str
    self_registered: str
    nat_networks: tuple[str, ...]
    at: str

    def has_terms_of(self, policy: ConsensusPolicy) -> bool:
        """Whether a count under them is good under `policy`."""
        return self == _counted(policy, self.at)


async def recount(storage: Storage, votes: VoteCounter, policy: ConsensusPolicy, now: datetime) -> int:
    """Count again what may have changed since the last call; returns how many skills and indicators did.

    In batches, so that reports are answered meanwhile; one that is interrupted starts over next time.
    """
    before = await storage.read(_recorded)
    if before is not None and before.has_terms_of(policy):
        since = to_text(from_text(before.at) - _LATE)
        names, digests = await storage.read(lambda db: _of_revoked(db, since))
        if not names and not digests:
            return 0
    else:
        names, digests = await storage.read(lambda db: (all_names(db), listed_digests(db)))
    changed = await votes.count(names, policy, to_text(now))
    for some in _batches(digests):
        changed += await storage.write(
            partial(recount_indicators, digests=some, at=to_text(now), policy=policy)
        )
    await storage.write(lambda db: _record(db, _counted(policy, to_text(now))))
    return changed


def recount_skills(db: Database, names: Iterable[str], at: str, policy: ConsensusPolicy) -> int:
    """Count skills again; returns how many changed."""
    return sum(recount_skill(db, name, at, policy) for name in names)


def recount_indicators(
    db: Database, digests: Iterable[tuple[Kind, str]], at: str, policy: ConsensusPolicy
) -> int:
    """Count listed indicators again; returns how many changed. None is listed anew, as no address is known here."""
    return sum(recount_indicator(db, kind, digest, None, at, policy) for kind, digest in digests)


def _counted(policy: ConsensusPolicy, at: str) -> _Counted:
    return _Counted(policy.admin_issued, policy.self_registered, policy.nat_networks, at)


def _of_revoked(db: Database, since: str) -> tuple[list[str], list[tuple[Kind, str]]]:
    """What identities have spoken about that lost a key since an instant."""
    subjects = db.conn.execute("SELECT DISTINCT subject FROM key WHERE revoked_at >= ?", [since]).fetchall()
    names: set[str] = set()
    digests: set[tuple[Kind, str]] = set()
    for (subject,) in subjects:
        names.update(names_of(db, subject))
        digests.update(digests_of(db, subject))
    return sorted(names), sorted(digests)


def _batches(items: list[T]) -> Iterable[list[T]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _recorded(db: Database) -> _Counted | None:
    row = db.conn.execute("SELECT value FROM instance WHERE name = ?", [_NAME]).fetchone()
    return msgspec.json.decode(row[0], type=_Counted) if row else None


def _record(db: Database, counted: _Counted) -> None:
    db.conn.execute(
        "INSERT OR REPLACE INTO instance (name, value) VALUES (?, ?)",
        [_NAME, msgspec.json.encode(counted).decode()],
    )
