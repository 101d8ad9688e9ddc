"""The states of a proposal."""

from enum import StrEnum


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
"""Votes still decide; which of the three it is follows from the votes and texts alone (`standing`)."""

SERVED = frozenset({Status.CANARY, Status.PROMOTED})
"""A rule of it is in service."""

CLOSED = frozenset({Status.REJECTED, Status.QUARANTINED, Status.WITHDRAWN})
"""Final: no vote, cycle or restart revives it, only an admin's reopen."""
