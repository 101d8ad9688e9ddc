"""Import of bundles over HTTP."""

import asyncio
from collections.abc import Mapping

import msgspec
from litestar import post
from litestar.response import Response
from sqlite_utils import Database

from app.access import audit
from app.access.guards import actor_of, instant_of, principal_of, require
from app.access.roles import Role
from app.bundles.archive import MAX_BYTES
from app.bundles.receipts import Receipt, write_receipt
from app.federation.bundle_import import WriteImportAudit, discard, import_bundle, keep_upload
from app.federation.errors import PullsFrozen, UnknownUpstream
from app.federation.service import Federation
from app.federation.sources.bundle import BundleFacts
from app.federation.status import PullFailure, PullResult
from app.federation.upstream import BundleUpstream
from app.http.envelope import AnyRequest, answer
from app.http.problem import Problem, bad_request, conflict, not_found

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
)
async def take_bundle(request: AnyRequest) -> Response[bytes]:
    """Take in a bundle, the file itself as body, and publish what it changed.

    `force` takes one that is older than the last or does not continue it; signature and digests are checked in any
    case, and the reason that it needs is audited.
    """
    federation: Federation = request.app.state.federation
    force, reason = _force(request.query_params)
    try:
        upstream = _upstream(federation, request.query_params.get("upstream"))
        await federation.refuse_while_frozen()
        path = await keep_upload(request.stream(), federation.spool_dir)
        try:
            result, facts = await import_bundle(
                federation,
                upstream,
                path,
                force,
                instant_of(request),
                _note(request, upstream, force, reason),
            )
        finally:
            await asyncio.to_thread(discard, path)
    except UnknownUpstream as error:
        raise not_found(str(error)) from error
    except PullsFrozen as error:
        raise conflict(str(error)) from error
    if facts is None:
        raise _refusal(result.failure)
    return answer(request, _answer(request, upstream, facts, result))


def _force(query: Mapping[str, str]) -> tuple[bool, str | None]:
    text, reason = query.get("force", "false"), query.get("reason")
    if text not in {"true", "false"}:
        raise bad_request("force: true or false", "force")
    if reason is not None and not 0 < len(reason) <= MAX_REASON:
        raise bad_request(f"reason: 1 to {MAX_REASON} characters", "reason")
    if text == "true" and reason is None:
        raise bad_request("reason: force needs one; it goes to the audit log", "reason")
    return text == "true", reason


def _upstream(federation: Federation, name: str | None) -> BundleUpstream:
    """The one that is named, or the only one of its kind."""
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


def _note(request: AnyRequest, upstream: BundleUpstream, force: bool, reason: str | None) -> WriteImportAudit:
    now, actor, address = instant_of(request), actor_of(request), principal_of(request).address

    def note(db: Database, result: PullResult, facts: BundleFacts | None) -> None:
        what = "refused" if result.outcome == "failed" else "forced" if force else ""
        detail = {
            "bundle": msgspec.to_builtins(facts),
            "result": msgspec.to_builtins(result),
            "reason": reason,
        }
        audit.append(
            db,
            at=now,
            actor=actor,
            action=f"bundle.import.{what}".removesuffix("."),
            target=upstream.name,
            detail={name: value for name, value in detail.items() if value is not None},
            address=address,
        )

    return note


def _refusal(failure: PullFailure | None) -> Problem:
    code, message = (failure.code, failure.message) if failure else ("worker", "The import failed.")
    if code == "worker":
        return Problem(503, message, {"code": code})
    return Problem(409 if code in _STATE else 422, f"The bundle is refused: {message}", {"code": code})


def _answer(
    request: AnyRequest, upstream: BundleUpstream, facts: BundleFacts, result: PullResult
) -> ImportedBundle:
    state = request.app.state
    edition = state.publisher.edition
    serial: int | None = edition.serial if edition is not None else None
    receipt = Receipt(
        iss=state.issuer,
        iat=int(instant_of(request).timestamp()),
        upstream=upstream.name,
        bundle=facts,
        result=msgspec.to_builtins(result),
        publication=serial,
    )
    signed = write_receipt(receipt, state.signing_keys.signer("manifest"))
    return ImportedBundle(upstream.name, facts, result, serial, signed)


bundle_import_handlers = [take_bundle]
