"""`Overlays`: the service of overlay entries, for the routes, the scheduler and the start of the server."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec
from sqlite_utils import Database

from app.access import audit_store
from app.access.principal import Actor
from app.http.timestamps import to_text
from app.overlay import entries, store, views
from app.overlay.config import Overlay, PinOverlay, ReplaceOverlay, SeverityOverlay
from app.overlay.entries import OverlayDecision
from app.overlay.errors import ReplacementRefused, UnreadableText
from app.overlay.texts import check_replacement, compare_texts, read_replacement
from app.overlay.views import OverlayComparison, OverlayEntrySummary
from app.rules.inspect import inspect_untrusted
from app.sandbox import Sandbox, SandboxClosed, SandboxError
from app.storage import Storage

log = logging.getLogger(__name__)

CONFIGURATION = "configuration"
"""How the audit log names what was declared there."""

A = TypeVar("A")
T = TypeVar("T")
OnChange = Callable[[str], Awaitable[object]]


class Overlays:
    """The organisation's decisions on single rules of upstreams.

    `declared` are those of the configuration. `sandbox` reads texts (short). `on_change` is called after what is
    served has changed, so that a publication can follow. Refusals are `OverlayError`s.
    """

    def __init__(
        self, storage: Storage, sandbox: Sandbox, declared: Sequence[Overlay], on_change: OnChange
    ) -> None:
        self._storage = storage
        self._sandbox = sandbox
        self._declared = declared
        self._on_change = on_change
        self._decisions: list[OverlayDecision] = []
        self._recomputed_at = ""

    async def adopt(self, now: datetime, *, withdraw: bool = True) -> None:
        """Take over the configuration's entries at the start; log an entry that cannot be used.

        With `withdraw`, entries that are no longer configured are removed: not when a command runs without a server,
        perhaps with another configuration.
        """
        self._decisions = [await self._decision(entry) for entry in self._declared]
        await self._recompute(now, withdraw=withdraw)

    async def recompute(self, now: datetime) -> None:
        """End entries whose time is over and give pins a text that came since; publish what changed."""
        since, at = self._recomputed_at, to_text(now)
        if await self._storage.read(lambda db: store.is_due(db, since, at)) and (
            await self._recompute(now, withdraw=True)
        ):
            await self._on_change("overlay entries ended or took effect")

    async def list_entries(self, now: datetime, rule_id: str | None) -> list[OverlayEntrySummary]:
        """Return every entry, or those of one rule."""
        return await self._storage.read(lambda db: views.list_entries(db, to_text(now), rule_id))

    async def show(self, entry_id: str, now: datetime) -> OverlayComparison:
        """Return one entry beside upstream's text; raise `UnknownEntry`, `UnreadableText`."""
        listed, texts = await self._storage.read(lambda db: views.show_entry(db, entry_id, to_text(now)))
        found = await self._in_sandbox(compare_texts, texts)
        return OverlayComparison(
            **msgspec.structs.asdict(listed),
            base_text=texts.base,
            upstream_text=texts.now,
            **msgspec.structs.asdict(found),
        )

    async def add(self, decision: OverlayDecision, text: str | None, actor: Actor) -> OverlayEntrySummary:
        """Make an entry and publish what it changes; `text` is that of a replacement.

        Raise `EntryRefused`, `ReplacementRefused` with every mistake of the text, and `UnreadableText`.
        """
        if text is not None:
            replacement = check_replacement(
                decision.rule_id, "text", text, await self._in_sandbox(inspect_untrusted, text)
            )
            decision = msgspec.structs.replace(decision, replacement=replacement)
        at = to_text(actor.at)

        def make(db: Database) -> OverlayEntrySummary:
            new = entries.add(db, decision, at)
            detail = {n: v for n, v in msgspec.structs.asdict(new).items() if n in _AUDITED and v is not None}
            _audit(db, actor, "overlay.add", new.rule_id, detail)
            entries.recompute_overlay(db, at)
            return next(e for e in views.list_entries(db, at, new.rule_id) if e.id == new.id)

        made = await self._storage.write(make)
        await self._on_change("overlay entry made")
        return made

    async def remove(self, entry_id: str, reason: str | None, actor: Actor) -> None:
        """Take an entry away and publish what that changes; raise `UnknownEntry`, `EntryRefused`."""

        def take(db: Database) -> None:
            old = entries.remove(db, entry_id)
            detail = {"id": old.id, "action": old.action} | ({"reason": reason} if reason else {})
            _audit(db, actor, "overlay.remove", old.rule_id, detail)
            entries.recompute_overlay(db, to_text(actor.at))

        await self._storage.write(take)
        await self._on_change("overlay entry removed")

    async def _recompute(self, now: datetime, *, withdraw: bool) -> bool:
        """Declare and recompute in one transaction; return True when what is served changed."""
        at = to_text(now)

        def work(db: Database) -> tuple[entries.DeclaredChanges, bool]:
            declared = entries.declare(db, self._decisions, at, withdraw=withdraw)
            if declared:
                detail = {
                    "made": declared.made,
                    "removed": declared.removed,
                    "superseded": [{"rule": e.rule_id, "action": e.action} for e in declared.superseded],
                }
                _audit(db, Actor(CONFIGURATION, None, now), "overlay.declare", None, detail)
            return declared, entries.recompute_overlay(db, at)

        declared, has_changed = await self._storage.write(work)
        self._recomputed_at = at
        for entry in declared.superseded:
            log.warning(
                "overlay entry superseded by the configuration",
                extra={"rule": entry.rule_id, "action": entry.action, "owner": entry.owner},
            )
        return has_changed

    async def _in_sandbox(self, function: Callable[[A], T], argument: A) -> T:
        """Call a function on an untrusted text; raise `UnreadableText`."""
        try:
            return await self._sandbox.call(function, argument)
        except SandboxClosed:
            raise
        except SandboxError as error:
            raise UnreadableText(f"The text cannot be read: {error}.") from error

    async def _decision(self, entry: Overlay) -> OverlayDecision:
        decision = OverlayDecision(
            rule_id=entry.rule,
            action=entry.action,
            owner=entry.owner,
            reason=entry.reason,
            expires_at=entry.expires_at,
            severity=entry.severity if isinstance(entry, SeverityOverlay) else None,
            version=entry.version if isinstance(entry, PinOverlay) else None,
        )
        if not isinstance(entry, ReplaceOverlay):
            return decision
        try:
            replacement = await asyncio.to_thread(read_replacement, entry)
        except ReplacementRefused as refused:
            log.warning(
                "overlay entry cannot be used; upstream's text is served",
                extra={"rule": entry.rule, "mistakes": msgspec.to_builtins(refused.errors)},
            )
            return decision
        return msgspec.structs.replace(decision, replacement=replacement)


_AUDITED = ("id", "action", "severity", "digest", "owner", "reason", "expires_at")


def _audit(db: Database, actor: Actor, action: str, target: str | None, detail: Mapping[str, object]) -> None:
    audit_store.append(
        db, at=actor.at, actor=actor.name, action=action, target=target, detail=detail, address=actor.address
    )
