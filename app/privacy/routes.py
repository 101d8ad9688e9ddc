"""What an admin does for or with one client's data: export it, erase it."""

from typing import Annotated

from litestar import delete, get
from litestar.di import NamedDependency
from litestar.params import PathParameter

from app.access.principal import Actor, Role
from app.access.route_guards import require
from app.http.problem import not_found
from app.privacy.subjects import ErasedSubject, ExportedSubject, Subjects

Subject = Annotated[str, PathParameter(schema_extra={"minLength": 1})]
_admins = [require(Role.ADMIN)]


@get("/api/admin/subjects/{subject:str}/data", guards=_admins)
async def export_data(
    subjects: NamedDependency[Subjects], subject: Subject, actor: NamedDependency[Actor]
) -> ExportedSubject:
    """Return everything tied to one client, by class, as it is stored; the export is audited."""
    exported = await subjects.export(subject, actor)
    if exported is None:
        raise not_found("Nothing is kept of this subject.")
    return exported


@delete("/api/admin/subjects/{subject:str}/data", guards=_admins, status_code=200)
async def erase_data(
    subjects: NamedDependency[Subjects], subject: Subject, actor: NamedDependency[Actor]
) -> ErasedSubject:
    """Delete everything tied to one client but its keys and the audit log, and recompute what rested on it."""
    erased = await subjects.erase(subject, actor)
    if erased is None:
        raise not_found("Nothing is kept of this subject.")
    return erased


subject_handlers = [export_data, erase_data]
