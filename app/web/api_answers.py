"""What `data` holds where a handler writes it member by member; the fuzz test holds every answer against it."""

import msgspec

from app.federation.progress import Progress


class SetAsideRule(msgspec.Struct, rename="camel"):
    """A rule that an upstream offers and that is not taken, and why; without an id, by upstream's name for it."""

    rule_id: str
    reason: str


class RunningPull(msgspec.Struct):
    """`POST .../sync`: the pull that was started or joined."""

    pull: Progress


class LastPull(msgspec.Struct):
    """`GET .../pull`: the running or last pull; null when there was none since the server started."""

    pull: Progress | None


class ApprovedChanges(msgspec.Struct):
    """Rule ids, and the serial of the publication that follows; null when nothing new is published (yet)."""

    approved: list[str]
    published: int | None


class RefusedChanges(msgspec.Struct):
    """Rule ids; nothing is published by a refusal."""

    refused: list[str]
    published: None
