"""What each route takes and gives, as one table: handlers read body and query themselves, so no signature says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from app.access.audit import AuditEntry
from app.access.chain import ChainReport
from app.access.keys import KeyRecord
from app.access.roles import Role
from app.access.routes import HeldKey, NewKey, NewPartnerKey, Registration
from app.fleet.agents import FleetAgent, Standing
from app.fleet.manager import AgentEvent, AgentHeartbeat, AgentRegistration, DeviceHeartbeat
from app.fleet.routes import Recorded, RegisteredAgent, Stale
from app.http.paging import MAX_LIMIT
from app.intel.indicators.model import Kind
from app.intel.indicators.routes import IndicatorToDelete, NewIndicator
from app.intel.indicators.store import Indicator
from app.intel.public_routes import Version
from app.intel.reports.threats import Channel, StoredThreat, TrapEvent
from app.intel.skills.analysis import Analyses, Skills
from app.intel.skills.routes import SkillThreat, SkillToForget
from app.intel.skills.store import StoredReport
from app.intel.stats import BadgeStats, Metrics, Stats
from app.intel.telemetry.totals import (
    Activation,
    ActivationTotals,
    ScanEvent,
    ScanTotals,
    Telemetry,
    TelemetryTotals,
    Usage,
    UsageTotals,
)
from app.publication.routes import Reason
from app.rules.listing import Shown as HeldRule
from app.rules.local import Imported
from app.rules.routes import ImportBody, WithdrawBody
from app.rules.sync import PushedRules, Synced
from app.signing.keys import KeyUse
from app.web import api_answers as answers

JSON = "application/json"
FILE = "application/octet-stream"
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
Serial = Annotated[int, Meta(ge=1, le=1 << 53)]
Since = Annotated[int, Meta(ge=0, le=1 << 53)]
Text = Annotated[str, Meta(min_length=1)]
ShortText = Annotated[str, Meta(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True)
class Contract:
    """One route: types of body, query and `data` (None: there is none), and the statuses of its successes.

    What is not JSON, or is bare, is not enveloped; `data` then describes the whole of the answer. `accepts` is the
    media type of the body; `bytes` is a file as it is.
    """

    data: Any
    body: Any = None
    query: Mapping[str, Any] = field(default_factory=dict)
    status: tuple[int, ...] = (200,)
    media: str = JSON
    accepts: str = JSON
    is_conditional: bool = False
    is_bare: bool = False

    @property
    def is_enveloped(self) -> bool:
        """Does a success come in the envelope?"""
        return self.media == JSON and not self.is_bare


def _listed(data: Any, **query: Any) -> Contract:
    return Contract(data, query={"limit": Limit, "cursor": str, **query})


def _distributed(data: Any, **query: Any) -> Contract:
    filters = {"since": datetime, "category": str, "severity": str, "source": str}
    return Contract(data, query=filters | query, is_conditional=True)


_SINCE = {"since": datetime}
_RISK = {"minReports": int, "minAvgRisk": float}
_FEED = Contract(
    str,
    query={"minReputation": Annotated[int, Meta(ge=0, le=100)], "category": str},
    media="text/plain",
    is_conditional=True,
)
_PEM = Contract(str, media="text/plain")

PATH_PARAMETERS: Mapping[str, Any] = {
    "agent_id": Text,
    "author": ShortText,
    "key_id": Text,
    "kid": Text,
    "name": Text,
    "rule_id": Text,
    "serial": Serial,
    "skill": ShortText,
    "subject": Text,
    "use": KeyUse,
}

CONTRACTS: Mapping[str, Contract] = {
    "GET /metrics": Contract(str, media="text/plain"),
    "GET /.well-known/jwks.json": Contract(answers.JwkSet, media="application/jwk-set+json"),
    "GET /.well-known/rule-key.pem": _PEM,
    "GET /.well-known/manifest-key.pem": _PEM,
    "GET /api/atr-rules/live": _distributed(list[answers.LiveRule]),
    "GET /api/atr-rules": _distributed(list[answers.SignedRule], format=Literal["yaml", "guard"]),
    "GET /api/rules": _distributed(list[answers.SignedRule]),
    "POST /api/admin/keys": Contract(answers.IssuedKey, body=NewKey, status=(201,)),
    "GET /api/admin/keys": _listed(list[KeyRecord], role=Role, subject=str),
    "POST /api/admin/keys/check": Contract(answers.CheckedKey, body=HeldKey),
    "GET /api/admin/keys/{key_id}": Contract(KeyRecord),
    "DELETE /api/admin/keys/{key_id}": Contract(KeyRecord),
    "POST /api/admin/partner-keys": Contract(answers.IssuedPartnerKey, body=NewPartnerKey, status=(201,)),
    "POST /api/clients/register": Contract(answers.Registered, body=Registration, status=(201,)),
    "GET /api/admin/signing-keys": Contract(list[answers.ShownSigningKey]),
    "POST /api/admin/signing-keys/{use}/rotate": Contract(answers.NewSigningKey, status=(201,)),
    "DELETE /api/admin/signing-keys/{kid}": Contract(answers.RetiredSigningKey),
    "GET /api/audit-log": _listed(list[AuditEntry], action=str, actor=str, since=datetime),
    "GET /api/admin/audit/verify": Contract(ChainReport),
    "GET /api/admin/rules": _listed(list[HeldRule], origin=str, state=str, category=str, severity=str),
    "GET /api/admin/rules/{rule_id}": Contract(list[HeldRule]),
    "POST /api/admin/rules/import": Contract(list[Imported], body=ImportBody),
    "POST /api/admin/rules/{rule_id}/withdraw": Contract(answers.WithdrawnRule, body=WithdrawBody),
    "GET /api/admin/bundles/export": Contract(bytes, query={"since": Since}, media=FILE),
    "GET /api/publications": _listed(list[answers.Publication]),
    "GET /api/publications/current": Contract(answers.SignedPublication),
    "GET /api/publications/diff": Contract(answers.PublicationDiff, query={"from": Serial, "to": Serial}),
    "GET /api/publications/{serial}": Contract(answers.WholePublication),
    "POST /api/publications/{serial}/rollback": Contract(answers.Publication, body=Reason),
    "POST /api/publications/release": Contract(answers.Publication | None),
    "POST /api/threats": Contract(answers.ThreatReceipt, body=answers.ThreatBatch, status=(201,)),
    "GET /api/threats": _listed(list[StoredThreat], channel=Channel),
    "POST /api/trap-intel": Contract(answers.TrapReceipt, body=list[TrapEvent], status=(201,)),
    "POST /api/skill-threats": Contract(answers.BatchReceipt, body=SkillThreat, status=(201,)),
    "GET /api/skill-threats": _listed(list[StoredReport]),
    "GET /api/skill-blacklist": Contract(
        list[answers.BlacklistedSkill], query=_RISK | _SINCE, is_conditional=True
    ),
    "POST /api/skill-blacklist": Contract(answers.Blocked, body=answers.SkillsToBlock, status=(201,)),
    "DELETE /api/skill-blacklist": Contract(answers.Forgotten, body=SkillToForget),
    "GET /api/skill-whitelist": Contract(list[answers.WhitelistedSkill], query=_SINCE, is_conditional=True),
    "GET /api/skill-whitelist/all": Contract(list[answers.TrustedSkill]),
    "POST /api/skill-whitelist": Contract(answers.BatchReceipt, body=answers.SkillVotes, status=(201,)),
    "DELETE /api/skill-whitelist": Contract(answers.Forgotten, body=SkillToForget),
    "GET /api/feeds/ip-blocklist": _FEED,
    "GET /api/feeds/domain-blocklist": _FEED,
    "GET /api/admin/indicators": _listed(list[Indicator], kind=Kind, origin=Literal["admin", "reports"]),
    "POST /api/admin/indicators": Contract(Indicator, body=NewIndicator, status=(201,)),
    "DELETE /api/admin/indicators": Contract(answers.DeletedIndicator, body=IndicatorToDelete),
    "GET /api/admin/subjects/{subject}/data": Contract(answers.SubjectData),
    "DELETE /api/admin/subjects/{subject}/data": Contract(answers.ErasedData),
    "POST /api/rules/sync": Contract(Synced, body=PushedRules),
    "POST /api/agents/register": Contract(
        RegisteredAgent, body=AgentRegistration, status=(201,), is_bare=True
    ),
    "POST /api/agents/{agent_id}/heartbeat": Contract(Recorded, body=AgentHeartbeat),
    "POST /api/agents/{agent_id}/events": Contract(Recorded, body=AgentEvent, status=(201,)),
    "POST /api/devices/heartbeat": Contract(Recorded, body=DeviceHeartbeat),
    "GET /api/admin/fleet": _listed(list[FleetAgent], standing=Standing, stale=Stale),
    "GET /api/admin/fleet/{agent_id}": Contract(FleetAgent),
    "POST /api/scan-events": Contract(Recorded, body=ScanEvent, status=(201,)),
    "GET /api/scan-events": Contract(dict[str, ScanTotals]),
    "POST /api/telemetry": Contract(Recorded, body=Telemetry),
    "GET /api/telemetry": Contract(TelemetryTotals),
    "POST /api/usage": Contract(Recorded, body=Usage),
    "GET /api/usage": Contract(UsageTotals),
    "POST /api/activations": Contract(Recorded, body=Activation),
    "GET /api/activations": Contract(ActivationTotals),
    "POST /api/analyze-skills": Contract(Analyses, body=Skills),
    "GET /api/stats": Contract(Stats),
    "GET /api/metrics": Contract(Metrics),
    "GET /api/version": Contract(Version),
    "GET /api/badge/stats": Contract(BadgeStats),
    "GET /api/badge/{author}/{skill}": Contract(str, media="image/svg+xml"),
}
"""`METHOD path` as `docs/api.md` writes it."""
