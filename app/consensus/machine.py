"""The state machine of a proposal: one pure function from a state and an event to the next state.

The public server sets states wherever it likes, so that a late vote there revives what an admin rejected. Here
every change goes through `after`.
"""

from dataclasses import dataclass
from enum import StrEnum

from app.consensus.errors import Refused
from app.consensus.states import CLOSED, OPEN, SERVED, Status


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
    """From any state of `of` to `to` (None: to the standing); from others a refusal, or nothing if there is none."""

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


def after(status: Status, event: Event, standing: Status, *, staged: bool = False) -> Status:
    """The state after `event`.

    `standing` is the open state that its votes and texts amount to now (`standing.Standing.status`); `staged` says
    that new rules pass through canary. Raises `Refused` with a sentence when the state does not allow the event.
    """
    if standing not in OPEN:
        raise ValueError(f"{standing} is no standing")
    if event is Event.GATE_PASSED:
        if status is not Status.CONFIRMED or standing is not Status.CONFIRMED:
            raise _refused(status, "it is not confirmed")
        return Status.CANARY if staged else Status.PROMOTED
    if event in (Event.TICK, Event.CANARY_OVER):
        return _ticked(status, standing, over=event is Event.CANARY_OVER)
    move = _MOVES[event]
    if status in move.of:
        return move.to or standing
    if move.refusal is not None:
        raise _refused(status, move.refusal)
    return status


def _ticked(status: Status, standing: Status, *, over: bool) -> Status:
    if status in OPEN:
        return standing
    if status is not Status.CANARY:
        return status
    if standing is not Status.CONFIRMED:
        return standing
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
