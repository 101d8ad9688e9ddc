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
from app.federation.bundle_routes import ImportedBundle
from app.federation.held import HeldState, ShownChange
from app.federation.routes import Approval as ChangeApproval
from app.federation.routes import ChangeRefusal, WholeChange
from app.federation.status import Status as UpstreamStatus
from app.federation.versions import ShownVersion
from app.http.paging import MAX_LIMIT
from app.overlay.resolve import State
from app.overlay.routes import AnyNewEntry
from app.overlay.views import Compared
from app.overlay.views import Listed as OverlayEntry
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


_PEM = Contract(str, media="text/plain")

PATH_PARAMETERS: Mapping[str, Any] = {
    "entry_id": Text,
    "key_id": Text,
    "kid": Text,
    "name": Text,
    "rule_id": Text,
    "serial": Serial,
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
    "GET /api/admin/upstreams": Contract(list[UpstreamStatus]),
    "GET /api/admin/upstreams/{name}": Contract(UpstreamStatus),
    "GET /api/admin/upstreams/{name}/set-aside": _listed(list[answers.SetAsideRule]),
    "GET /api/admin/upstreams/{name}/versions": _listed(list[ShownVersion]),
    "POST /api/admin/upstreams/{name}/sync": Contract(answers.RunningPull, status=(202,)),
    "GET /api/admin/upstreams/{name}/pull": Contract(answers.LastPull),
    "GET /api/admin/upstreams/{name}/held": _listed(list[ShownChange], state=HeldState),
    "GET /api/admin/upstreams/{name}/held/{rule_id}": Contract(WholeChange),
    "POST /api/admin/upstreams/{name}/approve": Contract(answers.ApprovedChanges, body=ChangeApproval),
    "POST /api/admin/upstreams/{name}/refuse": Contract(answers.RefusedChanges, body=ChangeRefusal),
    "GET /api/admin/overlay": _listed(list[OverlayEntry], rule=str, state=State),
    "POST /api/admin/overlay": Contract(OverlayEntry, body=AnyNewEntry, status=(201,)),
    "GET /api/admin/overlay/{entry_id}": Contract(Compared),
    "DELETE /api/admin/overlay/{entry_id}": Contract(answers.RemovedEntry, query={"reason": str}),
    "GET /api/admin/bundles/export": Contract(bytes, query={"since": Since}, media=FILE),
    "POST /api/admin/bundles/import": Contract(
        ImportedBundle,
        body=bytes,
        accepts=FILE,
        query={"upstream": Text, "force": bool, "reason": Annotated[str, Meta(min_length=1, max_length=500)]},
    ),
    "GET /api/publications": _listed(list[answers.Publication]),
    "GET /api/publications/current": Contract(answers.SignedPublication),
    "GET /api/publications/diff": Contract(answers.PublicationDiff, query={"from": Serial, "to": Serial}),
    "GET /api/publications/{serial}": Contract(answers.WholePublication),
    "POST /api/publications/{serial}/rollback": Contract(answers.Publication, body=Reason),
    "POST /api/publications/release": Contract(answers.Publication | None),
    "POST /api/rules/sync": Contract(Synced, body=PushedRules),
}
"""`METHOD path` as `docs/api.md` writes it."""
