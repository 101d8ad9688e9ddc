"""What `data` holds where a handler writes it member by member; the fuzz test holds every answer against it."""

from typing import Any, Literal

import msgspec

from app.access.keys import KeyRecord
from app.federation.progress import Progress
from app.signing.keys import KeyUse


class IssuedKey(KeyRecord, frozen=True, kw_only=True):
    """A new key; `token` is shown here and never again."""

    token: str
    note: str


class CheckedKey(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a token is accepted; `reason` says why not, `key` whose it is."""

    accepted: bool
    reason: str | None
    key: KeyRecord | None


class IssuedPartnerKey(msgspec.Struct, rename="camel"):
    """A new partner key in the public server's shape; `client_key` is shown here and never again."""

    partner_name: str
    client_id: str
    client_key: str
    note: str
    id: str
    expires_at: str | None


class Registered(msgspec.Struct, rename="camel"):
    """A new identity of a client that registered itself; `client_key` is shown here and never again."""

    client_key: str
    client_id: str
    subject: str
    id: str


class ShownSigningKey(msgspec.Struct):
    """One accepted signing key; the active one of each use signs."""

    kid: str
    use: KeyUse
    created_at: str
    active: bool


class NewSigningKey(msgspec.Struct):
    """The key that signs from now on."""

    kid: str
    use: KeyUse


class RetiredSigningKey(msgspec.Struct):
    """The key that is gone."""

    kid: str
    retired: bool


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


class RemovedEntry(msgspec.Struct):
    """An overlay entry that is gone."""

    id: str
    removed: bool


class WithdrawnRule(msgspec.Struct, rename="camel"):
    """A local rule that is out of service."""

    rule_id: str
    state: Literal["withdrawn"]


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


class JwkSet(msgspec.Struct):
    """RFC 7517."""

    keys: list[dict[str, Any]]
