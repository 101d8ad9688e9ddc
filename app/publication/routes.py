"""Looking at publications, and going back to one."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.params import PathParameter
from litestar.response import Response
from sqlite_utils import Database

from app.access import audit
from app.access.guards import actor_of, instant_of, principal_of, require, require_reader
from app.access.roles import Role
from app.http.body import read_body
from app.http.envelope import AnyRequest, answer
from app.http.paging import cursor_for, page_of
from app.http.problem import Problem, bad_request, conflict, not_found
from app.publication import store
from app.publication.compose import difference
from app.publication.errors import NoSuchPublication, NotFrozen

Serial = Annotated[int, PathParameter(ge=1, le=1 << 53)]


class Reason(msgspec.Struct, frozen=True):
    """Why an admin does something; it goes to the audit log."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


@get("/api/publications", guards=[require(Role.REVIEWER, Role.ADMIN)])
async def list_publications(request: AnyRequest) -> Response[bytes]:
    """Publications from newest to oldest, and the rollback in force."""
    page = page_of(request.query_params, key_parts=1)
    before = serial_of(page.after[0]) if page.after else None
    records, held = await request.app.state.storage.read(
        lambda db: (store.newest_records(db, page.limit, before), store.freeze(db))
    )
    more = cursor_for([str(records[-1].serial)]) if len(records) == page.limit else None
    meta = {"next": more, "hold": msgspec.to_builtins(held)}
    return answer(request, [_summary(record) for record in records], meta=meta)


@get("/api/publications/current", guards=[require_reader()])
async def current_publication(request: AnyRequest) -> Response[bytes]:
    """The newest publication with its signed manifest: what a client compares its rules with."""
    newest = await request.app.state.storage.read(store.latest)
    if newest is None:
        raise no_publication()
    return answer(request, _summary(newest) | {"manifest": newest.manifest})


@get("/api/publications/diff", guards=[require(Role.REVIEWER, Role.ADMIN)])
async def diff_publications(request: AnyRequest) -> Response[bytes]:
    """What changed from one serial to another (`from`, `to`; default: the newest and the one before)."""
    query = request.query_params
    asked = {name: serial_of(query[name], name) for name in ("from", "to") if name in query}

    def read(db: Database) -> dict[str, Any]:
        newest = store.latest(db)
        if newest is None:
            raise no_publication()
        after = asked.get("to", newest.serial)
        before = asked.get("from", after - 1)
        old = store.published_members(db, before) if before else []
        changes = difference(old, store.published_members(db, after))
        return {"from": before, "to": after, **msgspec.to_builtins(changes)}

    return answer(request, await _found(request.app.state.storage.read(read)))


@get("/api/publications/{serial:int}", guards=[require(Role.REVIEWER, Role.ADMIN)])
async def show_publication(request: AnyRequest, serial: Serial) -> Response[bytes]:
    """One publication with its manifest and members."""

    def read(db: Database) -> dict[str, Any]:
        record = store.record(db, serial)
        members = sorted(store.published_members(db, serial), key=lambda member: member.rule_id)
        rules = [
            {"ruleId": m.rule_id, "origin": m.origin, "source": m.source, "digest": m.digest, "ring": m.ring}
            for m in members
        ]
        return _summary(record) | {"manifest": record.manifest, "rules": rules}

    return answer(request, await _found(request.app.state.storage.read(read)))


@post("/api/publications/{serial:int}/rollback", guards=[require(Role.ADMIN)], status_code=200)
async def roll_back(request: AnyRequest, serial: Serial) -> Response[bytes]:
    """Serve an older set again under a new serial, and hold new publications until `release`."""
    body = await read_body(request, Reason)
    now = instant_of(request)
    note = _audit(request, now, "publication.rollback", str(serial), {"reason": body.reason})
    record = await _found(request.app.state.publisher.roll_back(serial, body.reason, now, note))
    return answer(request, _summary(record))


@post("/api/publications/release", guards=[require(Role.ADMIN)], status_code=200)
async def release(request: AnyRequest) -> Response[bytes]:
    """End a rollback: publish the effective set again."""
    now = instant_of(request)
    note = _audit(request, now, "publication.release", None, {})
    try:
        record = await request.app.state.publisher.resume(now, note)
    except NotFrozen as error:
        raise conflict(str(error)) from error
    return answer(request, _summary(record) if record is not None else None)


async def _found(pending: Any) -> Any:
    try:
        return await pending
    except NoSuchPublication as error:
        raise not_found(f"{error}; see `threatcloud publication list`") from error


def _audit(
    request: AnyRequest, now: datetime, action: str, target: str | None, detail: dict[str, Any]
) -> Any:
    actor, address = actor_of(request), principal_of(request).address

    def note(db: Database) -> None:
        audit.append(db, at=now, actor=actor, action=action, target=target, detail=detail, address=address)

    return note


def _summary(record: store.PublicationRecord) -> dict[str, Any]:
    return {
        "serial": record.serial,
        "publishedAt": record.published_at,
        "digest": record.digest,
        "total": record.total,
        "canary": record.canary,
        "reason": record.reason,
        "restores": record.restores,
    }


def serial_of(text: str, name: str = "cursor") -> int:
    """A serial in the query; raises `Problem` 400 that names the parameter."""
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise bad_request(f"{name}: a serial number is needed", name)
    return int(text)


def no_publication() -> Problem:
    """503: nothing was published yet."""
    return Problem(503, "The first publication is still being built.", headers={"Retry-After": "5"})


publication_handlers = [
    list_publications,
    current_publication,
    diff_publications,
    show_publication,
    roll_back,
    release,
]
