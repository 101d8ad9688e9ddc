"""Import of bundles over HTTP."""

import asyncio
from typing import Annotated

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from sqlite_utils import Database

from app.access import audit_store
from app.access.principal import Actor, Role
from app.access.route_guards import require
from app.bundles.files import BundleFacts
from app.bundles.format import MAX_BYTES
from app.bundles.receipts import Receipt, write_receipt
from app.federation.bundle_import import WriteImportAudit, discard, import_bundle, keep_upload
from app.federation.service import Federation
from app.federation.status import PullFailure, PullResult
from app.federation.upstream import BundleUpstream
from app.http.described import FILE_TYPE, described
from app.http.envelope import Answer, AnyRequest
from app.http.problem import Problem, bad_request, conflict
from app.signing.keys import SigningKeys

MAX_REASON = 500
_STATE = {"gap", "rollback", "key", "unreadable"}
"""Failures that lie in the present state of this instance, not in the file."""


class ImportedBundle(msgspec.Struct, frozen=True, rename="camel"):
    """What was taken in and what became of it; `receipt` says the same, signed (JWS, type `receipt+jwt`)."""

    upstream: str
    bundle: BundleFacts
    result: PullResult
    publication: int | None
    receipt: str


@post(
    "/api/admin/bundles/import",
    guards=[require(Role.ADMIN)],
    status_code=200,
    request_max_body_size=MAX_BYTES,
    **described(ImportedBundle, body=bytes, accepts=FILE_TYPE),
)
async def take_bundle(
    request: AnyRequest,
    federation: NamedDependency[Federation],
    signing_keys: NamedDependency[SigningKeys],
    actor: NamedDependency[Actor],
    upstream: Annotated[str | None, QueryParameter(schema_extra={"minLength": 1})] = None,
    force: Annotated[bool, QueryParameter(description="true or false")] = False,
    reason: Annotated[str | None, QueryParameter(min_length=1, max_length=MAX_REASON)] = None,
) -> Answer[ImportedBundle]:
    """Take in a bundle, the file itself as body, and publish what it changed.

    `force` takes one that is older than the last or does not continue it; signature and digests are checked in any
    case, and the reason that it needs is audited.
    """
    if force and reason is None:
        raise bad_request("reason: force needs one; it goes to the audit log", "reason")
    target = _upstream(federation, upstream)
    await federation.refuse_while_frozen()
    path = await keep_upload(request.stream(), federation.spool_dir)
    try:
        audit_entry = _audit_entry(target, force, reason, actor)
        result, facts = await import_bundle(federation, target, path, force, actor.at, audit_entry)
    finally:
        await asyncio.to_thread(discard, path)
    if facts is None:
        raise _refusal(result.failure)
    state = request.app.state
    served = state.publisher.served  # of a package above this one
    serial: int | None = served.serial if served is not None else None
    receipt = Receipt(
        iss=state.issuer,
        iat=int(actor.at.timestamp()),
        upstream=target.name,
        bundle=facts,
        result=msgspec.to_builtins(result),
        publication=serial,
    )
    signed = write_receipt(receipt, signing_keys.signer("manifest"))
    return Answer(ImportedBundle(target.name, facts, result, serial, signed))


def _upstream(federation: Federation, name: str | None) -> BundleUpstream:
    """Return the upstream that is named, or the only one of its kind."""
    if name is not None:
        upstream = federation.upstream(name)
        if not isinstance(upstream, BundleUpstream):
            raise conflict(
                f"{name} is of kind {upstream.kind}: bundles are imported into one of kind bundle."
            )
        return upstream
    found = [upstream for upstream in federation.upstreams.values() if isinstance(upstream, BundleUpstream)]
    if not found:
        raise conflict(
            "No upstream of kind bundle is configured: it holds the key that bundles are checked with."
        )
    if len(found) > 1:
        raise bad_request("upstream: several are of kind bundle; name one", "upstream")
    return found[0]


def _audit_entry(upstream: BundleUpstream, force: bool, reason: str | None, actor: Actor) -> WriteImportAudit:
    """Return what writes the audit entry of this import, in the transaction that applies it."""

    def write(db: Database, result: PullResult, facts: BundleFacts | None) -> None:
        what = "refused" if result.outcome == "failed" else "forced" if force else ""
        detail = {
            "bundle": msgspec.to_builtins(facts),
            "result": msgspec.to_builtins(result),
            "reason": reason,
        }
        audit_store.append(
            db,
            at=actor.at,
            actor=actor.name,
            action=f"bundle.import.{what}".removesuffix("."),
            target=upstream.name,
            detail={name: value for name, value in detail.items() if value is not None},
            address=actor.address,
        )

    return write


def _refusal(failure: PullFailure | None) -> Problem:
    code, message = (failure.code, failure.message) if failure else ("worker", "The import failed.")
    if code == "worker":
        return Problem(503, message, {"code": code})
    return Problem(409 if code in _STATE else 422, f"The bundle is refused: {message}", {"code": code})


bundle_import_handlers = [take_bundle]
