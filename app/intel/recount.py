"""Recounts votes after a key was revoked or the terms of independence changed.

A vote counts while its identity has a valid key, and a revocation reports nothing: so a job looks for revoked keys.
After a change of `[consensus]`, everything is counted again.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from sqlite_utils import Database

from app.consensus.policy import ConsensusPolicy
from app.http.timestamps import from_text, to_text
from app.intel.indicators.model import IndicatorKind
from app.intel.indicators.store import digests_of, listed_digests, recount_indicators
from app.intel.skills.recount import VoteCounter
from app.intel.skills.store import names_of
from app.intel.skills.verdict_store import all_names
from app.intel.voters_store import LastRecount, keep_last_recount, last_recount, subjects_revoked_since
from app.storage import Storage

T = TypeVar("T")
_BATCH = 20
_LATE = timedelta(minutes=5)
"""A revocation bears the instant of its request, and is written a little later."""


async def recount(storage: Storage, votes: VoteCounter, policy: ConsensusPolicy, now: datetime) -> int:
    """Recount what may have changed since the last call; return how many skills and indicators did.

    Works in batches, so that reports are answered meanwhile; an interrupted recount starts over next time. Raises
    `SandboxError` when the skills could not be counted.
    """
    before = await storage.read(last_recount)
    if before is not None and before.has_terms_of(policy):
        since = to_text(from_text(before.at) - _LATE)
        names, digests = await storage.read(lambda db: _named_by_revoked(db, since))
        if not names and not digests:
            return 0
    else:
        names, digests = await storage.read(lambda db: (all_names(db), listed_digests(db)))
    changed = await votes.count(names, policy, to_text(now))
    for batch in _batches(digests):
        changed += await storage.write(
            partial(recount_indicators, digests=batch, at=to_text(now), policy=policy)
        )
    await storage.write(lambda db: keep_last_recount(db, LastRecount.under(policy, to_text(now))))
    return changed


def _named_by_revoked(db: Database, since: str) -> tuple[list[str], list[tuple[IndicatorKind, str]]]:
    """Return the skills and indicators that identities reported which lost a key since an instant."""
    names: set[str] = set()
    digests: set[tuple[IndicatorKind, str]] = set()
    for subject in subjects_revoked_since(db, since):
        names.update(names_of(db, subject))
        digests.update(digests_of(db, subject))
    return sorted(names), sorted(digests)


def _batches(items: list[T]) -> Iterable[list[T]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))
