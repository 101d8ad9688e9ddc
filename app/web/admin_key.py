"""The first admin key: made on first start, kept in `<state>/admin.key` for its owner only."""

import logging
import os
from datetime import datetime
from pathlib import Path

from app.access.gatekeeper import Gatekeeper
from app.access.principal import LOCAL, Role

log = logging.getLogger(__name__)


async def ensure_admin_key(state_dir: Path, gatekeeper: Gatekeeper, now: datetime) -> None:
    """Issue the key unless the file is there; deleting the file and starting again issues another.

    The file is complete or absent: it is written beside its place, synced, then moved.
    """
    path = state_dir / "admin.key"
    if path.exists():
        return
    record, token = await gatekeeper.issue(
        role=Role.ADMIN, subject="admin", expires=None, site=None, actor=LOCAL.actor, now=now
    )
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, f"{token}\n".encode("ascii"))
        os.fsync(handle)
    finally:
        os.close(handle)
    partial.rename(path)
    log.warning("first start: the admin key was written", extra={"path": str(path), "key": record.id})
