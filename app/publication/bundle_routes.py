"""Export of bundles over HTTP."""

import base64
import hashlib
from typing import Annotated

from litestar import get
from litestar.response import Response
from msgspec import Meta

from app.access import audit
from app.access.guards import actor_of, instant_of, principal_of, require
from app.access.roles import Role
from app.bundles.format import BundleError
from app.http.described import FILE_TYPE, described
from app.http.envelope import AnyRequest
from app.http.problem import conflict, not_found
from app.publication.bundle_export import Export, export_bundle
from app.publication.errors import NoSuchPublication, NothingNewer
from app.publication.routes import no_publication, serial_of


@get(
    "/api/admin/bundles/export",
    guards=[require(Role.ADMIN)],
    **described(bytes, media=FILE_TYPE, query={"since": Annotated[int, Meta(ge=0, le=1 << 53)]}),
)
async def export(request: AnyRequest) -> Response[bytes]:
    """What is served now as one signed file, whole or from after the publication `since`.

    Without our envelope; `Repr-Digest` (RFC 9530) has the SHA-256 of the file.
    """
    since = serial_of(request.query_params["since"], "since") if "since" in request.query_params else 0
    now = instant_of(request)
    key = request.app.state.signing_keys.signer("manifest")
    try:
        exported = await request.app.state.storage.read(lambda db: export_bundle(db, since, key, now))
    except NoSuchPublication as error:
        raise not_found(
            f"{error}, so a delta cannot start there: leave `since` out for a full bundle"
        ) from error
    except (NothingNewer, BundleError) as error:
        raise conflict(str(error)) from error
    if exported is None:
        raise no_publication()
    digest = hashlib.sha256(exported.content).digest()
    if not request.scope["state"]["is_head"]:
        await _audit_export(request, exported, digest.hex())
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{exported.file_name}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode('ascii')}:",
    }
    return Response(exported.content, media_type=FILE_TYPE, headers=headers)


async def _audit_export(request: AnyRequest, exported: Export, digest: str) -> None:
    now, actor, address = instant_of(request), actor_of(request), principal_of(request).address
    manifest = exported.manifest
    detail = {"since": manifest.since, "digest": digest, "rules": len(manifest.rules)}
    await request.app.state.storage.write(
        lambda db: audit.append(
            db,
            at=now,
            actor=actor,
            action="bundle.export",
            target=f"publication {manifest.serial}",
            detail=detail,
            address=address,
        )
    )


bundle_export_handlers = [export]
