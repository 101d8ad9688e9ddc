"""The first part of a pull: ask the upstream, then look at every text that is not known yet.

Both happen in child processes of the pull's own, one after the other and each ended with its work, so that the
memory of a large answer is given back at once. Texts are kept batch by batch, each in a transaction of its own: they
are kept under their digest, so it does no harm when the pull fails after that.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from app.bundles.references import is_reference, known_references, set_aside_again
from app.federation.offer import Fit, Unfit, stated_id
from app.federation.sources.collected import Collected, Failure, Item, Memory, SetAside
from app.federation.sources.inspection import Looked, look_at_items
from app.federation.sources.registry import collect
from app.federation.sources.spool import read_span
from app.federation.status import Progress
from app.federation.store import adopted_version, set_aside_of
from app.federation.upstream import DirectoryUpstream, HttpUpstream, NpmUpstream, Upstream
from app.federation.versions_store import rules_of
from app.http.timestamps import to_text
from app.rules.store import put_text
from app.rules.validate import Profile
from app.sandbox import Sandbox, SandboxError
from app.storage import Storage

SLACK_SECONDS = 30.0
"""What a source may take beyond the upstream's timeout before its process is killed."""
LOCAL_SECONDS = 120.0
"""Deadline of sources without a network; the 833 rules of pyatr take about two seconds."""
LOOK_SECONDS = 30.0
"""Deadline of a batch; 40 published rules take 40 ms (measured)."""
BATCH = 40
BEGINNING = 4096
"""Bytes of a text that is no rule in which its id is looked for."""


async def ask(upstream: Upstream, memory: Memory, now: datetime, spool: Path) -> Collected:
    """What the upstream offers; a process that died or took too long is a failure like any other."""
    seconds = upstream.timeout + SLACK_SECONDS if isinstance(upstream, HttpUpstream) else LOCAL_SECONDS
    sandbox = Sandbox(seconds)
    try:
        return await sandbox.call(collect, upstream, memory, to_text(now), str(spool))
    except SandboxError as error:
        return lost(error)
    finally:
        await sandbox.close()


async def look_at_all(
    storage: Storage, upstream: Upstream, collected: Collected, spool: Path, progress: Progress
) -> tuple[list[Fit], list[Unfit]]:
    """Which of the collected items are rules, by the id in each, and which are not.

    Texts that the upstream offered last are known; all others are looked at and, if they are rules, kept. Authors'
    own files must be complete; a server passes on what it was given, also the stripped rules of the pyatr package.
    Raises `SandboxError` when that takes too long or its process dies, `StorageUnavailable`.
    """
    known, aside = await storage.read(lambda db: _known(db, upstream, collected))
    fit = [Fit(known[item.digest], item) for item in collected.items if item.digest in known]
    missing = [item for item in collected.items if item.digest not in known]
    unfit = set_aside_again([item for item in missing if is_reference(item)], aside)
    unknown = [item for item in missing if not is_reference(item)]
    progress.texts = len(unknown)
    if not unknown:
        return fit, unfit
    profile = Profile.PUBLISHED if isinstance(upstream, (NpmUpstream, DirectoryUpstream)) else Profile.BUNDLED
    sandbox = Sandbox(LOOK_SECONDS)
    try:
        for start in range(0, len(unknown), BATCH):
            batch = unknown[start : start + BATCH]
            spans = [(item.start, item.size) for item in batch]
            looked = await sandbox.call(look_at_items, str(spool), spans, profile.value)
            good, bad = _sort(batch, looked)
            await storage.write(lambda db, good=good: _keep(db, [look for _, look in good]))  # type: ignore[misc]
            fit += [found for found, _ in good]
            unfit += await asyncio.to_thread(_unfit, spool, bad)
            progress.looked += len(batch)
    finally:
        await sandbox.close()
    return fit, unfit


def lost(error: SandboxError) -> Collected:
    """The answer of a process that died, took too long or met a fault of ours."""
    return Collected(
        "failed", failure=Failure("worker", f"The process that pulls failed: {str(error)[:300]}.")
    )


def _known(db: Database, upstream: Upstream, collected: Collected) -> tuple[dict[str, str], list[SetAside]]:
    """`digest -> rule id` of what the upstream offered last or refers to now, and what was set aside of it."""
    offered = rules_of(db, adopted_version(db, upstream.name))
    known = {text.digest: rule_id for rule_id, text in offered.items()}
    return known | known_references(db, collected.items), set_aside_of(db, upstream.name)


def _sort(
    batch: Sequence[Item], looked: Sequence[Looked]
) -> tuple[list[tuple[Fit, Looked]], list[tuple[Item, str]]]:
    good: list[tuple[Fit, Looked]] = []
    bad: list[tuple[Item, str]] = []
    for item, found in zip(batch, looked, strict=True):
        inspection = found.look.inspection
        if inspection is None:
            bad.append((item, f"{found.look.field}: {found.look.reason}"))
        elif inspection.problems or inspection.facts is None:
            bad.append((item, "; ".join(f"{p.field}: {p.message}" for p in inspection.problems)))
        else:
            good.append((Fit(inspection.facts.rule_id, item), found))
    return good, bad


def _keep(db: Database, looked: Sequence[Looked]) -> None:
    for found in looked:
        if found.look.inspection is not None:
            put_text(db, found.look.inspection, found.text)


def _unfit(spool: Path, bad: Sequence[tuple[Item, str]]) -> list[Unfit]:
    """With the ids that they state, so that the last good texts of these rules can stay."""
    return [Unfit(item, reason, stated_id(_beginning(spool, item))) for item, reason in bad]


def _beginning(spool: Path, item: Item) -> str:
    return read_span(str(spool), item.start, min(item.size, BEGINNING)).decode("utf-8", "replace")
