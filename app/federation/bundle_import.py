"""Import of a bundle that somebody carried here: a pull whose answer is the file."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from msgspec.structs import replace
from sqlite_utils import Database

from app.bundles.files import BundleFacts
from app.federation.service import Federation
from app.federation.sources.bundle import open_bundle
from app.federation.sources.collected import Collected, Memory
from app.federation.status import PullResult
from app.federation.upstream import BundleUpstream, settings_digest
from app.sandbox import Sandbox
from app.storage import StorageUnavailable

OPEN_SECONDS = 120.0
"""Deadline for reading a bundle; 785 rules take 0.3 s."""

WriteImportAudit = Callable[[Database, PullResult, BundleFacts | None], Any]
"""Writes the audit entry of an import; no facts when the bundle was refused."""


async def keep_upload(chunks: AsyncIterator[bytes], folder: Path) -> Path:
    """Write a file that arrives into `folder` (0700) as one of its own (0600) and return its path.

    Its name ends in `.pull`, so that the next start removes what a crash left. Raises `StorageUnavailable`.
    """
    try:
        path, file = await asyncio.to_thread(_create, folder)
        try:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(file.close)
        except BaseException:
            await asyncio.to_thread(discard, path)
            raise
    except OSError as error:
        raise StorageUnavailable(f"the bundle could not be kept: {error.strerror}") from error
    return path


def discard(path: Path) -> None:
    """Remove a file that `keep_upload` wrote."""
    path.unlink(missing_ok=True)


def _create(folder: Path) -> tuple[Path, BinaryIO]:
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{secrets.token_hex(8)}.upload.pull"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    return path, os.fdopen(descriptor, "wb", buffering=1 << 20)


async def import_bundle(
    federation: Federation,
    upstream: BundleUpstream,
    path: Path,
    force: bool,
    now: datetime,
    write_audit: WriteImportAudit,
) -> tuple[PullResult, BundleFacts | None]:
    """Take over the bundle at `path` as a pull would; return the result and the facts, None when it was refused.

    With `force` it may be older than what was taken last and need not continue it. Raises `PullsFrozen`.
    """
    facts: BundleFacts | None = None

    async def collect_answer(memory: Memory, spool: Path) -> Collected:
        nonlocal facts
        sandbox = Sandbox(OPEN_SECONDS)
        try:
            opened = await sandbox.call(open_bundle, str(path), upstream, memory, force, str(spool))
        finally:
            await sandbox.close()
        facts, collected = opened.facts, opened.collected
        if collected.outcome == "failed":
            return collected
        return replace(collected, memory=replace(collected.memory, settings=settings_digest(upstream)))

    result = await federation.take_over(
        upstream, collect_answer, now, lambda db, result: write_audit(db, result, facts)
    )
    return result, facts if result.outcome != "failed" else None
