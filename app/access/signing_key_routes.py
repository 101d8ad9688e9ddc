"""Signing keys over HTTP: shown, rotated and retired by admins; their public halves for everybody."""

from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter

from app.access.gatekeeper import Gatekeeper
from app.access.principal import Actor, Role
from app.access.route_guards import public, require
from app.http.described import described
from app.http.envelope import Answer
from app.http.problem import Problem, bad_request, conflict, not_found
from app.http.timestamps import to_text
from app.signing.keys import USES, ActiveSigningKey, KeyUse, UnknownSigningKey

KEY_CACHING = {"Cache-Control": "public, max-age=300"}
"""A client that meets a key id it does not know fetches the set again, as with any JWK set."""
JWK_SET = "application/jwk-set+json"
Use = Annotated[str, PathParameter(schema_extra={"enum": list(USES)})]
Kid = Annotated[str, PathParameter(schema_extra={"minLength": 1})]
_admins = [require(Role.ADMIN)]


class ShownSigningKey(msgspec.Struct):
    """One accepted signing key; the active one of each use signs."""

    kid: str
    use: KeyUse
    created_at: str
    active: bool


class NewSigningKey(msgspec.Struct):
    """The key that signs from now on."""

    kid: str
    use: KeyUse


class RetiredSigningKey(msgspec.Struct):
    """The key that is gone."""

    kid: str
    retired: bool


class JwkSet(msgspec.Struct):
    """RFC 7517."""

    keys: list[dict[str, Any]]


@get("/api/admin/signing-keys", guards=_admins)
async def show_signing_keys(gatekeeper: NamedDependency[Gatekeeper]) -> Answer[list[ShownSigningKey]]:
    """Signing keys that are accepted, use by use, the one that signs first."""
    keys = gatekeeper.signing_keys
    shown = [
        ShownSigningKey(key.kid, use, to_text(key.created), active=key is keys.signer(use))
        for use in USES
        for key in keys.of(use)
    ]
    return Answer(shown, meta={"next": None})


@post("/api/admin/signing-keys/{use:str}/rotate", guards=_admins)
async def rotate_signing_key(
    gatekeeper: NamedDependency[Gatekeeper], use: Use, actor: NamedDependency[Actor]
) -> NewSigningKey:
    """Sign with a new key from now on; the old ones stay accepted until they are retired.

    What is served and was signed with the old key is signed again at once.
    """
    known: KeyUse | None = next((name for name in USES if name == use), None)
    if known is None:
        raise bad_request(f"use: one of {', '.join(USES)}", "use")
    kid = await gatekeeper.rotate_signing_key(known, actor.at, actor=actor.name, address=actor.address)
    return NewSigningKey(kid, known)


@delete("/api/admin/signing-keys/{kid:str}", guards=_admins, status_code=200)
async def retire_signing_key(
    gatekeeper: NamedDependency[Gatekeeper], kid: Kid, actor: NamedDependency[Actor]
) -> RetiredSigningKey:
    """Delete an old signing key: what it signed is refused from now on."""
    await gatekeeper.retire_signing_key(kid, actor.at, actor=actor.name, address=actor.address)
    return RetiredSigningKey(kid, retired=True)


@get("/.well-known/jwks.json", guards=[public()], **described(JwkSet, media=JWK_SET))
async def show_jwks(gatekeeper: NamedDependency[Gatekeeper]) -> Response[bytes]:
    """Public keys as a JWK set, without our envelope: RFC 7517 fixes its shape."""
    document = msgspec.json.encode(gatekeeper.signing_keys.jwks())
    return Response(document, media_type=JWK_SET, headers=KEY_CACHING)


@get("/.well-known/rule-key.pem", guards=[public()], **described(str, media="text/plain"))
async def show_rule_key(gatekeeper: NamedDependency[Gatekeeper]) -> Response[bytes]:
    """Public key that verifies rule signatures, as stock Guards are configured with it."""
    return _pem(gatekeeper, "rule")


@get("/.well-known/manifest-key.pem", guards=[public()], **described(str, media="text/plain"))
async def show_manifest_key(gatekeeper: NamedDependency[Gatekeeper]) -> Response[bytes]:
    """Public key that verifies publication manifests."""
    return _pem(gatekeeper, "manifest")


def _pem(gatekeeper: Gatekeeper, use: KeyUse) -> Response[bytes]:
    pem = gatekeeper.signing_keys.pem(use).encode("ascii")
    return Response(pem, media_type="text/plain", headers=KEY_CACHING)


def unknown_signing_key(_error: UnknownSigningKey) -> Problem:
    """Say in HTTP that no signing key has the id."""
    return not_found("No signing key has this id.")


def active_signing_key(_error: ActiveSigningKey) -> Problem:
    """Say in HTTP that the key cannot be retired."""
    return conflict("This key signs now: rotate it first, retire it when nothing needs it.")


signing_key_handlers = [
    show_signing_keys,
    rotate_signing_key,
    retire_signing_key,
    show_jwks,
    show_rule_key,
    show_manifest_key,
]
