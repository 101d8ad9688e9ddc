"""Keys over HTTP: issued, listed, checked and revoked by admins; registered by clients themselves."""

import re
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, PathParameter

from app.access.authentication import KeyRefused
from app.access.enrolment import parse_lifetime
from app.access.gatekeeper import Gatekeeper
from app.access.key_store import KeyRecord, find_key, list_keys
from app.access.principal import Actor, Principal, Role
from app.access.route_guards import public, require
from app.http.envelope import Answer
from app.http.paging import Page, page_of_rows, paged
from app.http.problem import bad_request, not_found
from app.http.requests import JsonBody
from app.storage import Storage

NOTE = "Store this key now. It will not be retrievable again."
KeyId = Annotated[str, PathParameter(schema_extra={"minLength": 1})]
_PARTNER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{1,63}")
_admins = [require(Role.ADMIN)]


class NewKey(msgspec.Struct):
    """The body of `POST /api/admin/keys`."""

    role: Role
    subject: str
    expires: str | None = None
    site: str | None = None


class PresentedKey(msgspec.Struct):
    """The body of `POST /api/admin/keys/check`."""

    token: str


class NewPartnerKey(msgspec.Struct, rename="camel"):
    """The body of `POST /api/admin/partner-keys`, as the public server takes it, and `expires`."""

    partner_name: str
    issued_by: str | None = None
    expires: str | None = None


class Registration(msgspec.Struct, rename="camel"):
    """The body of `POST /api/clients/register`, as every stock Guard sends it."""

    client_id: str


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


@post("/api/admin/keys", guards=_admins)
async def issue_key(
    gatekeeper: NamedDependency[Gatekeeper], data: JsonBody[NewKey], actor: NamedDependency[Actor]
) -> IssuedKey:
    """Issue a key; its token is in this answer and nowhere else."""
    record, token = await gatekeeper.issue(
        role=data.role,
        subject=data.subject,
        expires=_expiry(data.expires, actor.at),
        site=data.site,
        actor=actor.name,
        now=actor.at,
        address=actor.address,
    )
    return IssuedKey(**msgspec.structs.asdict(record), token=token, note=NOTE)


@get("/api/admin/keys", guards=_admins, dependencies=paged(2))
async def show_keys(
    storage: NamedDependency[Storage],
    page: NamedDependency[Page],
    role: FromQuery[Role | None] = None,
    subject: FromQuery[str | None] = None,
) -> Answer[list[KeyRecord]]:
    """Issued keys, newest first, by `role` and `subject`; never a token."""
    records = await storage.read(lambda db: list_keys(db, page, role, subject))
    return page_of_rows(records, page, lambda record: (record.issued_at, record.id))


@post("/api/admin/keys/check", guards=_admins, status_code=200)
async def check_key(
    gatekeeper: NamedDependency[Gatekeeper], data: JsonBody[PresentedKey], now: NamedDependency[datetime]
) -> CheckedKey:
    """Is this token accepted, and whose is it? `key` is null and `reason` says why when it is not."""
    try:
        record = gatekeeper.holder(data.token, now)
    except KeyRefused as error:
        return CheckedKey(accepted=False, reason=error.reason, key=None)
    return CheckedKey(accepted=True, reason=None, key=record)


@get("/api/admin/keys/{key_id:str}", guards=_admins)
async def show_key(storage: NamedDependency[Storage], key_id: KeyId) -> KeyRecord:
    """One key record."""
    record = await storage.read(lambda db: find_key(db, key_id))
    if record is None:
        raise not_found("No key has this id.")
    return record


@delete("/api/admin/keys/{key_id:str}", guards=_admins, status_code=200)
async def revoke_key(
    gatekeeper: NamedDependency[Gatekeeper], key_id: KeyId, actor: NamedDependency[Actor]
) -> KeyRecord:
    """Revoke a key: the next request with it is refused."""
    return await gatekeeper.revoke(key_id, actor.at, actor=actor.name, address=actor.address)


@post("/api/admin/partner-keys", guards=_admins)
async def issue_partner_key(
    gatekeeper: NamedDependency[Gatekeeper], data: JsonBody[NewPartnerKey], actor: NamedDependency[Actor]
) -> IssuedPartnerKey:
    """Issue a partner key in the shape of the public server."""
    name = data.partner_name.strip()
    if not _PARTNER_NAME.fullmatch(name):
        raise bad_request(
            "partnerName must be 2-64 chars, alphanumeric + dash/underscore only", "partnerName"
        )
    record, token = await gatekeeper.issue(
        role=Role.PARTNER,
        subject=f"partner:{name}",
        expires=_expiry(data.expires, actor.at),
        site=None,
        actor=actor.name,
        now=actor.at,
        address=actor.address,
        issued_by=None if data.issued_by is None else data.issued_by[:64],
    )
    return IssuedPartnerKey(
        partner_name=name,
        client_id=record.subject,
        client_key=token,
        note=NOTE,
        id=record.id,
        expires_at=record.expires_at,
    )


@post("/api/clients/register", guards=[public()])
async def register_client(
    gatekeeper: NamedDependency[Gatekeeper],
    data: JsonBody[Registration],
    principal: NamedDependency[Principal],
    now: NamedDependency[datetime],
) -> Registered:
    """Let a Guard register itself, where policy admits its address; `clientKey` is what it reads."""
    record, token = await gatekeeper.register(data.client_id, principal.address, now)
    return Registered(client_key=token, client_id=data.client_id, subject=record.subject, id=record.id)


def _expiry(text: str | None, now: datetime) -> datetime | None:
    return None if text is None else parse_lifetime(text, now)


key_handlers = [
    issue_key,
    show_keys,
    check_key,
    show_key,
    revoke_key,
    issue_partner_key,
    register_client,
]
