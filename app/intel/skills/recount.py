"""Counts a fleet's votes for skills in a sandbox, so that no request waits for the interpreter.

The votes of a hundred thousand agents for five skills each are half a million rows, and a count reads all of those
that are for one skill.
"""

from collections.abc import Iterable
from pathlib import Path

from sqlite_utils import Database

from app.consensus.policy import ConsensusPolicy
from app.intel.skills.verdict_store import Counted, count_skill, is_still_there, keep_verdict
from app.sandbox import Sandbox
from app.storage import Storage
from app.storage.connection import open_reader

COUNT_SECONDS = 120.0
"""Deadline of one call of the sandbox, which is for `NAMES_A_CALL` skills."""
NAMES_A_CALL = 50


class VoteCounter:
    """Computes verdicts in `sandbox`, and keeps them."""

    def __init__(self, storage: Storage, sandbox: Sandbox) -> None:
        self._storage = storage
        self._sandbox = sandbox

    async def count(self, names: Iterable[str], policy: ConsensusPolicy, at: str) -> int:
        """Recompute the verdicts of these skills, at the instant `at`; return how many changed.

        Raises `SandboxError` when counting failed; verdicts computed before that are kept.
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
    """Compute the verdicts of skills in the database at `path`; runs in a sandbox."""
    db = open_reader(Path(path))
    try:
        return [count_skill(db, name, policy) for name in names]
    finally:
        db.conn.close()


def keep_count(db: Database, counted: Counted, at: str) -> bool | None:
    """Keep a verdict that was computed outside this transaction; return True when it changed.

    Return None, and keep nothing, when something that was counted has been deleted since.
    """
    return keep_verdict(db, counted.name, counted.row, at) if is_still_there(db, counted) else None
