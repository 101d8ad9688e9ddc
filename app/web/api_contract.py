"""What each route takes and gives, as one table: handlers read body and query themselves, so no signature says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from app.federation.bundle_routes import ImportedBundle
from app.federation.held import HeldState, ShownChange
from app.federation.routes import Approval as ChangeApproval
from app.federation.routes import ChangeRefusal, WholeChange
from app.federation.status import Status as UpstreamStatus
from app.federation.versions import ShownVersion
from app.http.paging import MAX_LIMIT
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


PATH_PARAMETERS: Mapping[str, Any] = {
    "name": Text,
    "rule_id": Text,
}

CONTRACTS: Mapping[str, Contract] = {
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
    "POST /api/admin/bundles/import": Contract(
        ImportedBundle,
        body=bytes,
        accepts=FILE,
        query={"upstream": Text, "force": bool, "reason": Annotated[str, Meta(min_length=1, max_length=500)]},
    ),
}
"""`METHOD path` as `docs/api.md` writes it."""
