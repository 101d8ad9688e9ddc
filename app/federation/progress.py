"""How far a pull is, and what came of it."""

from typing import Literal

import msgspec

from app.federation.sources.collected import FailureCode

State = Literal["waiting", "collecting", "looking", "landing", "publishing", "done", "failed"]
Outcome = Literal["changed", "unchanged", "held", "failed"]


class PullFailure(msgspec.Struct, frozen=True):
    """Why a pull failed, and how many have failed in a row with it."""

    code: FailureCode
    message: str
    failures: int


class PullResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a pull did: numbers of rules.

    `held` is how many changes wait for an admin now, `set_aside` how many offered rules are not taken; `outcome` is
    `held` when this pull's changes wait, `unchanged` when there were none.
    """

    outcome: Outcome
    added: int = 0
    changed: int = 0
    withdrawn: int = 0
    held: int = 0
    set_aside: int = 0
    failure: PullFailure | None = None
    seconds: float = 0.0


class Progress(msgspec.Struct, kw_only=True, rename="camel"):
    """A pull that waits, runs or has ended; `state` goes forward only, and `result` comes with its end."""

    id: str
    state: State = "waiting"
    received_bytes: int = 0
    texts: int = 0
    """Texts that had to be looked at, since they were not known."""
    looked: int = 0
    """Texts that have been looked at."""
    result: PullResult | None = None
