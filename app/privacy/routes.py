"""What an admin does for or with one client's data: export it, erase it."""

from litestar import Response, delete, get
from litestar.params import FromPath

from app.access.guards import actor_of, instant_of, principal_of, require
from app.access.principal import Actor
from app.access.roles import Role
from app.http.envelope import AnyRequest, answer
from app.http.problem import not_found
from app.privacy.subjects import Subjects

_admins = [require(Role.ADMIN)]


@get("/api/admin/subjects/{subject:str}/data", guards=_admins)
async def export_data(request: AnyRequest, subject: FromPath[str]) -> Response[bytes]:
    """Return everything tied to one client, by class, as it is stored; the export is audited."""
    exported = await _subjects(request).export(subject, _actor(request))
    if exported is None:
        raise not_found("Nothing is kept of this subject.")
    return answer(request, exported)


@delete("/api/admin/subjects/{subject:str}/data", guards=_admins, status_code=200)
async def erase_data(request: AnyRequest, subject: FromPath[str]) -> Response[bytes]:
    """Delete everything tied to one client but its keys and the audit log, and recompute what rested on it."""
    erased = await _subjects(request).erase(subject, _actor(request))
    if erased is None:
        raise not_found("Nothing is kept of this subject.")
    return answer(request, erased)


def _actor(request: AnyRequest) -> Actor:
    return Actor(actor_of(request), principal_of(request).address, instant_of(request))


def _subjects(request: AnyRequest) -> Subjects:
    subjects: Subjects = request.app.state.subjects
    return subjects


subject_handlers = [export_data, erase_data]
