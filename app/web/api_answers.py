"""What `data` holds where a handler writes it member by member; the fuzz test holds every answer against it."""

from typing import Literal

import msgspec

from app.federation.progress import Progress


class LiveRule(msgspec.Struct, rename="camel"):
    """One confirmed rule as partners get it."""

    rule_id: str
    rule_content: str
    published_at: str
    source: str
    category: str
    severity: str
    mitre_techniques: str
    tags: str


class SignedRule(LiveRule, rename="camel"):
    """One rule as agents get it; `signature` is base64 of Ed25519 over the UTF-8 bytes of `rule_content`."""

    signature: str


class Publication(msgspec.Struct, rename="camel"):
    """One publication; `restores` is the serial that a rollback brought back."""

    serial: int
    published_at: str
    digest: str
    total: int
    canary: int
    reason: str
    restores: int | None


class SignedPublication(Publication, rename="camel"):
    """A publication with its signed manifest (JWS)."""

    manifest: str


class MemberRule(msgspec.Struct, rename="camel"):
    """One rule of a publication: its text by digest, and who gets it."""

    rule_id: str
    origin: str
    source: Literal["atr", "atr-community"]
    digest: str
    ring: Literal["stable", "canary"]


class WholePublication(SignedPublication, rename="camel"):
    """A publication with manifest and members."""

    rules: list[MemberRule]


class PublicationDiff(msgspec.Struct, rename={"before": "from", "after": "to"}):
    """Rule ids that came, changed and went between two serials."""

    before: int
    after: int
    added: list[str]
    changed: list[str]
    withdrawn: list[str]


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
