"""After a change of policy: what is undecided is counted again under the new terms.

Otherwise a proposal with two confirmations would wait for a third even after the owner lowered the threshold to two,
until somebody happened to touch it.
"""

from datetime import datetime
from functools import partial

import msgspec
from sqlite_utils import Database

from app.consensus.machine import Event
from app.consensus.policy import ConsensusPolicy
from app.consensus.store import load_state, reset_failed_gates, transition, undecided_proposals
from app.http.timestamps import to_text
from app.storage import Storage
from app.storage.instance_store import read_setting, write_setting

_NAME = "consensus_policy"
_BATCH = 200


class _VotingTerms(msgspec.Struct, frozen=True):
    """What of the policy a recorded count or verdict rests on."""

    threshold: int
    content_quorum: int
    admin_issued: str
    self_registered: str
    nat_networks: tuple[str, ...]
    quality: str


async def adopt_policy(storage: Storage, policy: ConsensusPolicy, now: datetime) -> int:
    """Count every undecided proposal again when the policy is not the one of the last run; returns how many.

    Done in batches, so that submissions are answered meanwhile; one that is interrupted starts over next time.
    A change of `quality` gives texts that failed the gate another chance.
    """
    terms = msgspec.convert(policy, _VotingTerms, from_attributes=True)
    known = await storage.read(_recorded)
    if known == terms:
        return 0
    if known is not None and known.quality != terms.quality:
        await storage.write(reset_failed_gates)
    recounted, after = 0, ""
    while batch := await storage.read(partial(undecided_proposals, after=after, limit=_BATCH)):
        await storage.write(partial(_recount, batch=batch, policy=policy, at=to_text(now)))
        recounted, after = recounted + len(batch), batch[-1]
    await storage.write(lambda db: write_setting(db, _NAME, msgspec.json.encode(terms).decode()))
    return recounted


def _recorded(db: Database) -> _VotingTerms | None:
    value = read_setting(db, _NAME)
    return msgspec.json.decode(value, type=_VotingTerms) if value is not None else None


def _recount(db: Database, batch: list[str], policy: ConsensusPolicy, at: str) -> None:
    for pattern_hash in batch:
        transition(db, load_state(db, pattern_hash, policy), Event.TICK, at)
