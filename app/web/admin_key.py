"""The first admin key: made on first start, kept in `<state>/admin.key` for its owner only."""

import logging
from datetime import datetime
from pathlib import Path

from app.access.gatekeeper import Gatekeeper
from app.access.principal import LOCAL, Role
from app.storage.files import discard_partials, write_private

log = logging.getLogger(__name__)


async def ensure_admin_key(state_dir: Path, gatekeeper: Gatekeeper, now: datetime) -> None:
    """Issue the key unless the file is there; deleting the file and starting again issues another.

    The file is complete or absent, and on disk when this returns.
    """
    path = state_dir / "admin.key"
    if path.exists():
        return
    record, token = await gatekeeper.issue(
        role=Role.ADMIN, subject="admin", expires=None, site=None, actor=LOCAL.actor, now=now
    )
    discard_partials(path)
    write_private(path, f"{token}\n".encode("ascii"))
    log.warning("first start: the admin key was written", extra={"path": str(path), "key": record.id})
