"""Access over HTTP: keys, registration, the audit log, signing keys."""

import re
from datetime import datetime
from typing import Any

import msgspec
from litestar import Response, delete, get, post
from litestar.params import FromPath

from app.access import audit_store
from app.access.authentication import KeyRefused
from app.access.enrolment import parse_lifetime
from app.access.gatekeeper import Gatekeeper
from app.access.guards import actor_of, instant_of, principal_of, public, require
from app.access.key_store import KeyRecord, find_key, list_keys
from app.access.principal import Role
from app.http.body import read_body
from app.http.envelope import AnyRequest, answer
from app.http.paging import page_of
from app.http.problem import bad_request, conflict, not_found
from app.http.timestamps import from_text, to_text
from app.signing.keys import USES, ActiveSigningKey, KeyUse, UnknownSigningKey
from app.storage import Storage

NOTE = "Store this key now. It will not be retrievable again."
KEY_CACHING = {"Cache-Control": "public, max-age=300"}
"""A client that meets a key id it does not know fetches the set again, as with any JWK set."""
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


@post("/api/admin/keys", guards=_admins)
async def issue_key(request: AnyRequest) -> Response[bytes]:
    """Issue a key; its token is in this answer and nowhere else."""
    body = await read_body(request, NewKey)
    record, token = await _gatekeeper(request).issue(
        role=body.role,
        subject=body.subject,
        expires=_expiry(request, body.expires),
        site=body.site,
        actor=actor_of(request),
        now=instant_of(request),
        address=principal_of(request).address,
    )
    return answer(request, _view(record) | {"token": token, "note": NOTE}, status=201)


@get("/api/admin/keys", guards=_admins)
async def show_keys(request: AnyRequest) -> Response[bytes]:
    """Issued keys, newest first, by `role` and `subject`; never a token."""
    page = page_of(request.query_params)
    role, subject = request.query_params.get("role"), request.query_params.get("subject")
    if role is not None and role not in list(Role):
        raise bad_request(f"role: one of {', '.join(Role)}", "role")
    wanted = None if role is None else Role(role)
    records, following = await _storage(request).read(lambda db: list_keys(db, page, wanted, subject))
    return answer(request, [_view(record) for record in records], meta={"next": following})


@post("/api/admin/keys/check", guards=_admins, status_code=200)
async def check_key(request: AnyRequest) -> Response[bytes]:
    """Is this token accepted, and whose is it? `key` is null and `reason` says why when it is not."""
    body = await read_body(request, PresentedKey)
    try:
        record = _gatekeeper(request).holder(body.token, instant_of(request))
    except KeyRefused as error:
        return answer(request, {"accepted": False, "reason": error.reason, "key": None})
    return answer(request, {"accepted": True, "reason": None, "key": _view(record)})


@get("/api/admin/keys/{key_id:str}", guards=_admins)
async def show_key(request: AnyRequest, key_id: FromPath[str]) -> Response[bytes]:
    """One key record."""
    record = await _storage(request).read(lambda db: find_key(db, key_id))
    if record is None:
        raise not_found("No key has this id.")
    return answer(request, _view(record))


@delete("/api/admin/keys/{key_id:str}", guards=_admins, status_code=200)
async def revoke_key(request: AnyRequest, key_id: FromPath[str]) -> Response[bytes]:
    """Revoke a key: the next request with it is refused."""
    record = await _gatekeeper(request).revoke(
        key_id, instant_of(request), actor=actor_of(request), address=principal_of(request).address
    )
    return answer(request, _view(record))


@post("/api/admin/partner-keys", guards=_admins)
async def issue_partner_key(request: AnyRequest) -> Response[bytes]:
    """Issue a partner key in the shape of the public server."""
    body = await read_body(request, NewPartnerKey)
    name = body.partner_name.strip()
    if not _PARTNER_NAME.fullmatch(name):
        raise bad_request(
            "partnerName must be 2-64 chars, alphanumeric + dash/underscore only", "partnerName"
        )
    record, token = await _gatekeeper(request).issue(
        role=Role.PARTNER,
        subject=f"partner:{name}",
        expires=_expiry(request, body.expires),
        site=None,
        actor=actor_of(request),
        now=instant_of(request),
        address=principal_of(request).address,
        issued_by=None if body.issued_by is None else body.issued_by[:64],
    )
    data = {
        "partnerName": name,
        "clientId": record.subject,
        "clientKey": token,
        "note": NOTE,
        "id": record.id,
        "expiresAt": record.expires_at,
    }
    return answer(request, data, status=201)


@post("/api/clients/register", guards=[public()])
async def register_client(request: AnyRequest) -> Response[bytes]:
    """Let a Guard register itself, where policy admits its address; `clientKey` is what it reads."""
    body = await read_body(request, Registration)
    record, token = await _gatekeeper(request).register(
        body.client_id, principal_of(request).address, instant_of(request)
    )
    data = {"clientKey": token, "clientId": body.client_id, "subject": record.subject, "id": record.id}
    return answer(request, data, status=201)


@get("/api/audit-log", guards=_admins)
async def show_audit_log(request: AnyRequest) -> Response[bytes]:
    """The audit log, newest first, by `action`, `actor` (whole, or its subject) and `since` (an instant)."""
    query = request.query_params
    page, since = page_of(query, key_parts=1), _instant(query.get("since"))
    entries, following = await _storage(request).read(
        lambda db: audit_store.read(
            db, page, action=query.get("action"), actor=query.get("actor"), since=since
        )
    )
    return answer(request, entries, meta={"next": following})


@get("/api/admin/audit/verify", guards=_admins)
async def verify_audit_log(request: AnyRequest) -> Response[bytes]:
    """Walk the whole hash chain; `broken_at` is null when nothing was tampered with."""
    return answer(request, await _storage(request).read(audit_store.verify))


@get("/api/admin/signing-keys", guards=_admins)
async def show_signing_keys(request: AnyRequest) -> Response[bytes]:
    """The accepted signing keys of each use, the one that signs first."""
    keys = _gatekeeper(request).signing_keys
    data = [
        {"kid": key.kid, "use": use, "created_at": to_text(key.created), "active": key is keys.signer(use)}
        for use in USES
        for key in keys.of(use)
    ]
    return answer(request, data, meta={"next": None})


@post("/api/admin/signing-keys/{use:str}/rotate", guards=_admins)
async def rotate_signing_key(request: AnyRequest, use: FromPath[str]) -> Response[bytes]:
    """Sign with a new key from now on; the old ones stay accepted until they are retired.

    What is served and was signed with the old key is signed anew at once (`app.state.on_rotated`).
    """
    known: KeyUse | None = next((name for name in USES if name == use), None)
    if known is None:
        raise bad_request(f"use: one of {', '.join(USES)}", "use")
    kid = await _gatekeeper(request).rotate_signing_key(
        known, instant_of(request), actor=actor_of(request), address=principal_of(request).address
    )
    await request.app.state.on_rotated(known)
    return answer(request, {"kid": kid, "use": known}, status=201)


@delete("/api/admin/signing-keys/{kid:str}", guards=_admins, status_code=200)
async def retire_signing_key(request: AnyRequest, kid: FromPath[str]) -> Response[bytes]:
    """Delete an old signing key: what it signed is refused from now on."""
    try:
        await _gatekeeper(request).retire_signing_key(
            kid, instant_of(request), actor=actor_of(request), address=principal_of(request).address
        )
    except UnknownSigningKey as error:
        raise not_found("No signing key has this id.") from error
    except ActiveSigningKey as error:
        raise conflict("This key signs now: rotate it first, retire it when nothing needs it.") from error
    return answer(request, {"kid": kid, "retired": True})


@get("/.well-known/jwks.json", guards=[public()])
async def show_jwks(request: AnyRequest) -> Response[bytes]:
    """The public keys as a JWK set, without our envelope: RFC 7517 fixes its shape."""
    document = msgspec.json.encode(_gatekeeper(request).signing_keys.jwks())
    return Response(document, media_type="application/jwk-set+json", headers=KEY_CACHING)


@get("/.well-known/rule-key.pem", guards=[public()])
async def show_rule_key(request: AnyRequest) -> Response[bytes]:
    """The public key that verifies rule signatures, as stock Guards are configured with it."""
    return _pem(request, "rule")


@get("/.well-known/manifest-key.pem", guards=[public()])
async def show_manifest_key(request: AnyRequest) -> Response[bytes]:
    """The public key that verifies publication manifests."""
    return _pem(request, "manifest")


def _pem(request: AnyRequest, use: KeyUse) -> Response[bytes]:
    pem = _gatekeeper(request).signing_keys.pem(use).encode("ascii")
    return Response(pem, media_type="text/plain", headers=KEY_CACHING)


def _view(record: KeyRecord) -> dict[str, Any]:
    return msgspec.structs.asdict(record)


def _expiry(request: AnyRequest, text: str | None) -> datetime | None:
    return None if text is None else parse_lifetime(text, instant_of(request))


def _instant(text: str | None) -> datetime | None:
    try:
        return None if text is None else from_text(text)
    except ValueError as error:
        raise bad_request("since: an instant such as 2027-01-31T00:00:00Z", "since") from error


def _gatekeeper(request: AnyRequest) -> Gatekeeper:
    gatekeeper: Gatekeeper = request.app.state.gatekeeper
    return gatekeeper


def _storage(request: AnyRequest) -> Storage:
    storage: Storage = request.app.state.storage
    return storage


access_handlers: list[Any] = [
    issue_key,
    show_keys,
    check_key,
    show_key,
    revoke_key,
    issue_partner_key,
    register_client,
    show_audit_log,
    verify_audit_log,
    show_signing_keys,
    rotate_signing_key,
    retire_signing_key,
    show_jwks,
    show_rule_key,
    show_manifest_key,
]
