"""What `data` holds where a handler writes it member by member; the fuzz test holds every answer against it."""

from typing import Any, Literal

import msgspec

from app.access.keys import KeyRecord
from app.intel.reports.threats import Event
from app.intel.skills.routes import SkillToBlock, SkillVote
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


class WithdrawnRule(msgspec.Struct, rename="camel"):
    """A local rule that is out of service."""

    rule_id: str
    state: Literal["withdrawn"]


class JwkSet(msgspec.Struct):
    """RFC 7517."""

    keys: list[dict[str, Any]]


class ThreatBatch(msgspec.Struct):
    """The usual body of `POST /api/threats`; one event alone, and `{sealed: ...}`, are taken too."""

    events: list[Event]


class BatchReceipt(msgspec.Struct):
    """How many items of a report were kept, and how many could not be understood."""

    message: str
    count: int
    skipped: int


class TrapReceipt(BatchReceipt):
    """`POST /api/trap-intel`."""


class ThreatReceipt(BatchReceipt):
    """`clean`: scans without a finding, counted apart; `sealed`: envelopes, counted and never opened."""

    clean: int
    sealed: int


class BlacklistedSkill(msgspec.Struct, rename="camel"):
    """One skill that is a risk, as stock clients read it; `report_count` counts independent identities."""

    skill_hash: str
    skill_name: str
    avg_risk_score: float
    max_risk_level: Literal["LOW", "MEDIUM", "HIGH", "CRITICAL"]
    report_count: int
    first_reported: str
    last_reported: str


class WhitelistedSkill(msgspec.Struct):
    """One trusted skill, in the shape that stock clients read."""

    name: str
    hash: str | None
    confirmations: int


class TrustedSkill(msgspec.Struct, rename="camel"):
    """One skill that somebody trusts, listed or not; `is_disputed`: with different fingerprints."""

    skill_name: str
    normalized_name: str
    fingerprint_hash: str | None
    confirmations: int
    status: Literal["confirmed", "pending", "blacklisted"]
    is_admin_entry: bool
    is_disputed: bool
    first_reported: str
    last_reported: str


class SkillsToBlock(msgspec.Struct):
    """The body of `POST /api/skill-blacklist`; one skill alone is taken too."""

    skills: list[SkillToBlock]


class SkillVotes(msgspec.Struct):
    """The body of `POST /api/skill-whitelist`; one skill alone is taken too, and either encoded twice."""

    skills: list[SkillVote]


class Blocked(msgspec.Struct):
    """How many skills are blocked now that were not before, of how many named."""

    message: str
    added: int
    total: int


class Forgotten(msgspec.Struct):
    """Which skills are off the list, and how many entries, reports or votes went with them."""

    message: str
    names: list[str]
    rows: int


class DeletedIndicator(msgspec.Struct):
    """What is gone: entries of the list, and reports of the value."""

    value: str
    entries: int
    sightings: int


class SubjectData(msgspec.Struct):
    """Everything tied to one client: how many rows of each class, and the rows."""

    subject: str
    rows: dict[str, int]
    data: dict[str, list[dict[str, Any]]]


class ErasedData(msgspec.Struct):
    """How many rows of each class are gone, and how many of what cannot be deleted are left."""

    subject: str
    erased: dict[str, int]
    kept: dict[str, int]
