"""Looking at publications, and going back to one."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from sqlite_utils import Database

from app.access import audit_store
from app.access.principal import Actor, Role
from app.access.route_guards import require, require_reader
from app.http.envelope import Answer
from app.http.paging import Page, page_of_rows, paged
from app.http.problem import Problem, bad_request, conflict, not_found
from app.http.requests import JsonBody
from app.publication import store
from app.publication.compose import difference
from app.publication.errors import NoDeltaFrom, NoSuchPublication, PublicationError
from app.publication.publisher import Publisher
from app.storage import Storage

Serial = Annotated[int, PathParameter(ge=1, le=1 << 53)]
MAX_SERIAL = 10**15 - 1
SERIAL_NEEDED = "a serial number is needed"

_reviewers = [require(Role.REVIEWER, Role.ADMIN)]
_admins = [require(Role.ADMIN)]


class RollbackReason(msgspec.Struct, frozen=True):
    """Why an admin goes back to a publication; it goes to the audit log."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


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
    added: tuple[str, ...]
    changed: tuple[str, ...]
    withdrawn: tuple[str, ...]


@get("/api/publications", guards=_reviewers, dependencies=paged(1))
async def list_publications(
    storage: NamedDependency[Storage], page: NamedDependency[Page]
) -> Answer[list[Publication]]:
    """Return publications from newest to oldest, and the rollback in force."""
    before = _serial_of(page.after[0]) if page.after else None
    records, freeze = await storage.read(
        lambda db: (store.newest_records(db, page.limit + 1, before), store.freeze(db))
    )
    return page_of_rows(
        [_publication(record) for record in records],
        page,
        lambda publication: (str(publication.serial),),
        meta={"hold": msgspec.to_builtins(freeze)},
    )


@get("/api/publications/current", guards=[require_reader()])
async def current_publication(storage: NamedDependency[Storage]) -> SignedPublication:
    """Return the newest publication with its signed manifest: what a client compares its rules with."""
    newest = await storage.read(store.latest)
    if newest is None:
        raise no_publication()
    return SignedPublication(**_members(newest), manifest=newest.manifest)


@get("/api/publications/diff", guards=_reviewers)
async def diff_publications(
    storage: NamedDependency[Storage],
    before: Annotated[
        int | None, QueryParameter(name="from", ge=0, le=MAX_SERIAL, description=SERIAL_NEEDED)
    ] = None,
    after: Annotated[
        int | None, QueryParameter(name="to", ge=0, le=MAX_SERIAL, description=SERIAL_NEEDED)
    ] = None,
) -> PublicationDiff:
    """Return what changed from one serial to another (`from`, `to`; default: the newest and the one before)."""

    def read(db: Database) -> PublicationDiff:
        newest = store.latest(db)
        if newest is None:
            raise no_publication()
        last = newest.serial if after is None else after
        first = last - 1 if before is None else before
        old = store.published_members(db, first) if first else []
        changes = difference(old, store.published_members(db, last))
        return PublicationDiff(first, last, changes.added, changes.changed, changes.withdrawn)

    return await storage.read(read)


@get("/api/publications/{serial:int}", guards=_reviewers)
async def show_publication(storage: NamedDependency[Storage], serial: Serial) -> WholePublication:
    """Return one publication with its manifest and members."""

    def read(db: Database) -> WholePublication:
        record = store.record(db, serial)
        members = sorted(store.published_members(db, serial), key=lambda member: member.rule_id)
        rules = [MemberRule(m.rule_id, m.origin, m.source, m.digest, m.ring) for m in members]  # type: ignore[arg-type]
        return WholePublication(**_members(record), manifest=record.manifest, rules=rules)

    return await storage.read(read)


@post("/api/publications/{serial:int}/rollback", guards=_admins, status_code=200)
async def roll_back(
    publisher: NamedDependency[Publisher],
    serial: Serial,
    data: JsonBody[RollbackReason],
    actor: NamedDependency[Actor],
) -> Publication:
    """Serve an older set again under a new serial, and keep new publications back until `release`."""
    note = _audit(actor, "publication.rollback", str(serial), {"reason": data.reason})
    return _publication(await publisher.roll_back(serial, data.reason, actor.at, note))


@post("/api/publications/release", guards=_admins, status_code=200)
async def resume(
    publisher: NamedDependency[Publisher], actor: NamedDependency[Actor], now: NamedDependency[datetime]
) -> Publication | None:
    """End a rollback: publish the effective set again."""
    record = await publisher.resume(now, _audit(actor, "publication.release", None, {}))
    return _publication(record) if record is not None else None


def _audit(actor: Actor, action: str, target: str | None, detail: dict[str, Any]) -> Any:
    def note(db: Database) -> None:
        audit_store.append(
            db,
            at=actor.at,
            actor=actor.name,
            action=action,
            target=target,
            detail=detail,
            address=actor.address,
        )

    return note


def _publication(record: store.PublicationRecord) -> Publication:
    return Publication(**_members(record))


def _members(record: store.PublicationRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in Publication.__struct_fields__}


def _serial_of(text: str) -> int:
    """Return the serial in a cursor; raise `Problem` 400."""
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise bad_request(f"cursor: {SERIAL_NEEDED}", "cursor")
    return int(text)


def no_publication() -> Problem:
    """Return the refusal 503: nothing was published yet."""
    return Problem(503, "The first publication is still being built.", headers={"Retry-After": "5"})


def publication_problem(error: PublicationError) -> Problem:
    """Return how a refusal of this capability is answered."""
    match error:
        case NoDeltaFrom():
            return not_found(str(error))
        case NoSuchPublication():
            return not_found(f"{error}; see `threatcloud publication list`")
        case _:
            return conflict(str(error))


publication_handlers = [
    list_publications,
    current_publication,
    diff_publications,
    show_publication,
    roll_back,
    resume,
]
"""Every route of this capability but the polled ones."""
