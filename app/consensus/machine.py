"""The state machine of a proposal: one pure function from a state and an event to the next state.

The public server sets states wherever it likes, so that a late vote there revives what an admin rejected. Here
every change goes through `after`.
"""

from dataclasses import dataclass
from enum import StrEnum

from app.consensus.errors import Refused


class Status(StrEnum):
    """Where a proposal stands; the values are what the database and the wire carry."""

    DRAFT = "draft"
    """Evidence without a rule: nobody has sent a text that could become one."""

    PENDING = "pending"
    """A rule text exists; confirmations, a common text or a reviewer is missing."""

    CONFIRMED = "confirmed"
    """Nothing is missing: the next promotion cycle gates the text and publishes it."""

    CANARY = "canary"
    """Served to the canary slice of the agents."""

    PROMOTED = "promoted"
    """Served to everybody."""

    REJECTED = "rejected"
    """A reviewer said no before it was served."""

    QUARANTINED = "quarantined"
    """Independent false-positive reports took it out of service."""

    WITHDRAWN = "withdrawn"
    """A reviewer took it out of service."""


OPEN = frozenset({Status.DRAFT, Status.PENDING, Status.CONFIRMED})
"""Votes still decide; which of the three it is follows from the votes and texts alone (`votes.count_votes`)."""

SERVED = frozenset({Status.CANARY, Status.PROMOTED})
"""A rule of it is in service."""

CLOSED = frozenset({Status.REJECTED, Status.QUARANTINED, Status.WITHDRAWN})
"""Final: no vote, cycle or restart revives it, only an admin's reopen."""


class Event(StrEnum):
    """What can happen to a proposal."""

    SUBMITTED = "submitted"
    """An identity confirmed it (or its vote arrived after the decision)."""

    APPROVED = "approved"
    """A reviewer chose one of its texts."""

    TEXT_SUPPLIED = "text supplied"
    """A reviewer gave it a text, which is thereby chosen."""

    GATE_PASSED = "gate passed"
    """The cycle gated the chosen text, and it holds."""

    GATE_FAILED = "gate failed"
    """The cycle gated the chosen text, and it does not hold."""

    TICK = "tick"
    """The cycle counted again, since keys may have been revoked."""

    CANARY_OVER = "canary over"
    """The cycle counted again, and the canary time is over."""

    FALSE_POSITIVES = "false positives"
    """Enough independent identities reported false positives."""

    REJECTED = "rejected"
    """A reviewer turned it down."""

    WITHDRAWN = "withdrawn"
    """A reviewer took its rule out of service."""

    REOPENED = "reopened"
    """An admin revoked the decision against it."""


@dataclass(frozen=True, slots=True)
class _Move:
    """From any state of `of` to `to`; from others a refusal, or nothing if there is none.

    Without `to`, the votes decide the next state.
    """

    of: frozenset[Status]
    to: Status | None = None
    refusal: str | None = None


_MOVES = {
    Event.SUBMITTED: _Move(OPEN),
    Event.GATE_FAILED: _Move(OPEN),
    Event.APPROVED: _Move(OPEN, refusal="its text can no longer be chosen"),
    Event.TEXT_SUPPLIED: _Move(OPEN, refusal="its text can no longer be chosen"),
    Event.REJECTED: _Move(OPEN, Status.REJECTED, "only what is undecided can be rejected"),
    Event.FALSE_POSITIVES: _Move(SERVED, Status.QUARANTINED, "no rule of it is in service"),
    Event.WITHDRAWN: _Move(
        SERVED | {Status.QUARANTINED}, Status.WITHDRAWN, "only what was served can be withdrawn"
    ),
    Event.REOPENED: _Move(CLOSED, refusal="there is no decision to revoke"),
}


def after(status: Status, event: Event, counted: Status, *, staged: bool = False) -> Status:
    """Return the state after `event`.

    `counted` is the open state that its votes and texts give now (`votes.VoteCount.status`); `staged` says
    that new rules pass through canary. Raises `Refused` with a sentence when the state does not allow the event.
    """
    if counted not in OPEN:
        raise ValueError(f"{counted} is no state that votes decide")
    if event is Event.GATE_PASSED:
        if status is not Status.CONFIRMED or counted is not Status.CONFIRMED:
            raise _refused(status, "it is not confirmed")
        return Status.CANARY if staged else Status.PROMOTED
    if event in (Event.TICK, Event.CANARY_OVER):
        return _ticked(status, counted, over=event is Event.CANARY_OVER)
    move = _MOVES[event]
    if status in move.of:
        return move.to or counted
    if move.refusal is not None:
        raise _refused(status, move.refusal)
    return status


def _ticked(status: Status, counted: Status, *, over: bool) -> Status:
    if status in OPEN:
        return counted
    if status is not Status.CANARY:
        return status
    if counted is not Status.CONFIRMED:
        return counted
    return Status.PROMOTED if over else Status.CANARY


_HINTS = {
    Status.DRAFT: "reject it instead, or supply a text",
    Status.PENDING: "approve or reject it instead",
    Status.CONFIRMED: "approve or reject it instead",
    Status.CANARY: "withdraw it to take it out of service",
    Status.PROMOTED: "withdraw it to take it out of service",
    Status.REJECTED: "an admin can reopen it",
    Status.QUARANTINED: "an admin can reopen it",
    Status.WITHDRAWN: "an admin can reopen it",
}


def _refused(status: Status, why: str) -> Refused:
    return Refused(f"The proposal is {status}: {why}; {_HINTS[status]}.", status=status)
