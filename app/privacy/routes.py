"""One client's data over HTTP: hand it over, delete it."""

from typing import Any

from litestar import Response, delete, get
from litestar.params import FromPath
from sqlite_utils import Database

from app.access import audit
from app.access.guards import actor_of, instant_of, principal_of, require
from app.access.principal import Actor
from app.access.roles import Role
from app.http.envelope import AnyRequest, answer
from app.http.problem import not_found
from app.privacy.subjects import erase_subject, export_subject

_admins = [require(Role.ADMIN)]


@get("/api/admin/subjects/{subject:str}/data", guards=_admins)
async def export_data(request: AnyRequest, subject: FromPath[str]) -> Response[bytes]:
    """Everything tied to one client, by class, as it is stored; that somebody looked is audited."""
    actor = _by(request)
    found = await request.app.state.storage.read(lambda db: export_subject(db, subject))
    if not found:
        raise not_found("Nothing is kept of this subject.")
    rows = {name: len(items) for name, items in found.items()}

    def note(db: Database) -> None:
        audit.append(
            db,
            at=actor.at,
            actor=actor.name,
            action="subject.export",
            target=subject,
            detail={"rows": rows},
            address=actor.address,
        )

    await request.app.state.storage.write(note)
    return answer(request, {"subject": subject, "rows": rows, "data": found})


@delete("/api/admin/subjects/{subject:str}/data", guards=_admins, status_code=200)
async def erase_data(request: AnyRequest, subject: FromPath[str]) -> Response[bytes]:
    """Delete everything tied to one client but its keys and the audit log, and count again what rested on it."""
    state, actor = request.app.state, _by(request)

    def work(db: Database) -> dict[str, Any] | None:
        if not export_subject(db, subject):
            return None
        done = erase_subject(db, subject, actor, state.config.consensus)
        return {"subject": subject, "erased": done.erased, "kept": done.kept}

    done = await state.storage.write(work)
    if done is None:
        raise not_found("Nothing is kept of this subject.")
    state.intel.changed()
    return answer(request, done)


def _by(request: AnyRequest) -> Actor:
    return Actor(actor_of(request), principal_of(request).address, instant_of(request))


subject_handlers = [export_data, erase_data]
