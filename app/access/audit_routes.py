"""The audit log over HTTP: read it, verify its hash chain."""

from datetime import datetime
from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from app.access import audit_store
from app.access.audit_chain import ChainReport
from app.access.audit_store import AuditEntry
from app.access.principal import Role
from app.access.route_guards import require
from app.http.envelope import Answer
from app.http.paging import Page, page_of_rows, paged
from app.storage import Storage

_admins = [require(Role.ADMIN)]


@get("/api/audit-log", guards=_admins, dependencies=paged(1))
async def show_audit_log(
    storage: NamedDependency[Storage],
    page: NamedDependency[Page],
    action: FromQuery[str | None] = None,
    actor_name: Annotated[str | None, QueryParameter(name="actor")] = None,
    since: FromQuery[datetime | None] = None,
) -> Answer[list[AuditEntry]]:
    """Audit log, newest first, by `action`, `actor` (whole, or its subject) and `since` (an instant)."""
    entries = await storage.read(
        lambda db: audit_store.read(db, page, action=action, actor=actor_name, since=since)
    )
    return page_of_rows(entries, page, lambda entry: (str(entry.id),))


@get("/api/admin/audit/verify", guards=_admins)
async def verify_audit_log(storage: NamedDependency[Storage]) -> ChainReport:
    """Walk the whole hash chain; `broken_at` is null when nothing was tampered with."""
    return await storage.read(audit_store.verify)


audit_handlers = [show_audit_log, verify_audit_log]
