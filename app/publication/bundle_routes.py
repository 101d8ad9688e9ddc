"""Export of bundles over HTTP."""

import base64
import hashlib
from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Response

from app.access import audit_store
from app.access.principal import Actor, Role
from app.access.route_guards import require
from app.bundles.format import BundleError
from app.http.described import FILE_TYPE, described
from app.http.envelope import AnyRequest
from app.http.problem import Problem, conflict
from app.publication.bundle_export import Export, export_bundle
from app.publication.routes import MAX_SERIAL, SERIAL_NEEDED, no_publication
from app.signing.keys import SigningKeys
from app.storage import Storage


@get("/api/admin/bundles/export", guards=[require(Role.ADMIN)], **described(bytes, media=FILE_TYPE))
async def export(
    request: AnyRequest,
    storage: NamedDependency[Storage],
    signing_keys: NamedDependency[SigningKeys],
    actor: NamedDependency[Actor],
    since: Annotated[int, QueryParameter(ge=0, le=MAX_SERIAL, description=SERIAL_NEEDED)] = 0,
) -> Response[bytes]:
    """Return what is served now as one signed file, whole or from after the publication `since`.

    Without our envelope; `Repr-Digest` (RFC 9530) has the SHA-256 of the file.
    """
    key = signing_keys.signer("manifest")
    exported = await storage.read(lambda db: export_bundle(db, since, key, actor.at))
    if exported is None:
        raise no_publication()
    digest = hashlib.sha256(exported.content).digest()
    if not request.scope["state"]["is_head"]:
        await _audit_export(storage, actor, exported, digest.hex())
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{exported.file_name}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode('ascii')}:",
    }
    return Response(exported.content, media_type=FILE_TYPE, headers=headers)


async def _audit_export(storage: Storage, actor: Actor, exported: Export, digest: str) -> None:
    manifest = exported.manifest
    detail = {"since": manifest.since, "digest": digest, "rules": len(manifest.rules)}
    await storage.write(
        lambda db: audit_store.append(
            db,
            at=actor.at,
            actor=actor.name,
            action="bundle.export",
            target=f"publication {manifest.serial}",
            detail=detail,
            address=actor.address,
        )
    )


def bundle_problem(error: BundleError) -> Problem:
    """Return how a bundle that cannot be written is answered."""
    return conflict(str(error))


bundle_export_handlers = [export]
