"""Counting a fleet's votes for skills in a process of its own, so that no request waits for the interpreter.

The votes of a hundred thousand agents for five skills each are half a million rows, and a count reads all of those
that are for one skill.
"""

from collections.abc import Iterable
from pathlib import Path

from sqlite_utils import Database

from app.consensus.policy import ConsensusPolicy
from app.intel.skills.store import Counted, count_skill, is_still_there, keep_standing
from app.sandbox import Sandbox
from app.storage import Storage
from app.storage.connection import open_reader

COUNT_SECONDS = 120.0
"""Deadline of one call of the sandbox, which is for `NAMES_A_CALL` skills."""
NAMES_A_CALL = 50


class VoteCounter:
    """Counts skills in `sandbox`, and keeps what they amount to."""

    def __init__(self, storage: Storage, sandbox: Sandbox) -> None:
        self._storage = storage
        self._sandbox = sandbox

    async def count(self, names: Iterable[str], policy: ConsensusPolicy, at: str) -> int:
        """Count these skills; returns how many changed, at the instant `at`.

        Raises `SandboxError` when counting failed; what was counted before that is kept.
        """
        waiting, changed = sorted(names), 0
        while waiting:
            some, waiting = waiting[:NAMES_A_CALL], waiting[NAMES_A_CALL:]
            for counted in await self._sandbox.call(count_skills, str(self._storage.path), some, policy):
                kept = await self._storage.write(lambda db, found=counted: keep_count(db, found, at))  # type: ignore[misc]
                if kept is None:
                    waiting.append(counted.name)
                else:
                    changed += kept
        return changed


def count_skills(path: str, names: list[str], policy: ConsensusPolicy) -> list[Counted]:
    """Count skills in the database at `path`; for a sandbox."""
    db = open_reader(Path(path))
    try:
        return [count_skill(db, name, policy) for name in names]
    finally:
        db.conn.close()


def keep_count(db: Database, counted: Counted, at: str) -> bool | None:
    """Keep a count that was made outside this transaction: True when that changed what the skill amounts to.

    None, and nothing kept, when something of what was counted has been deleted since.
    """
    return keep_standing(db, counted.name, counted.row, at) if is_still_there(db, counted) else None
