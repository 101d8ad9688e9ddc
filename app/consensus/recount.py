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
from app.consensus.store import load_case, move
from app.http.timestamps import to_text
from app.storage import Storage

_NAME = "consensus_policy"
_BATCH = 200


class _Terms(msgspec.Struct, frozen=True):
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
    terms = msgspec.convert(policy, _Terms, from_attributes=True)
    known = await storage.read(_recorded)
    if known == terms:
        return 0
    if known is not None and known.quality != terms.quality:
        await storage.write(_forgive)
    recounted, after = 0, ""
    while batch := await storage.read(partial(_undecided, after=after)):
        await storage.write(partial(_recount, batch=batch, policy=policy, at=to_text(now)))
        recounted, after = recounted + len(batch), batch[-1]
    await storage.write(lambda db: _record(db, terms))
    return recounted


def _recorded(db: Database) -> _Terms | None:
    row = db.conn.execute("SELECT value FROM instance WHERE name = ?", [_NAME]).fetchone()
    return msgspec.json.decode(row[0], type=_Terms) if row else None


def _record(db: Database, terms: _Terms) -> None:
    db.conn.execute(
        "INSERT OR REPLACE INTO instance (name, value) VALUES (?, ?)",
        [_NAME, msgspec.json.encode(terms).decode()],
    )


def _forgive(db: Database) -> None:
    db.conn.execute("UPDATE variant SET gate = 'waiting', problems = '[]' WHERE gate = 'failed'")


def _undecided(db: Database, after: str) -> list[str]:
    rows = db.conn.execute(
        "SELECT pattern_hash FROM proposal WHERE status IN ('draft', 'pending', 'confirmed') AND pattern_hash > ?"
        " ORDER BY pattern_hash LIMIT ?",
        [after, _BATCH],
    )
    return [row[0] for row in rows]


def _recount(db: Database, batch: list[str], policy: ConsensusPolicy, at: str) -> None:
    for pattern_hash in batch:
        move(db, load_case(db, pattern_hash, policy), Event.TICK, at)
