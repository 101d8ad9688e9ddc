"""`Overlays`: what the routes, the scheduler and the start of the server call about overlay entries."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlite_utils import Database

from app.access import audit
from app.access.principal import Actor
from app.http.timestamps import to_text
from app.overlay import entries, store, views
from app.overlay.compare import compare
from app.overlay.config import Overlay, PinOverlay, ReplaceOverlay, SeverityOverlay
from app.overlay.entries import Decision
from app.overlay.text import fit, read_replacement
from app.overlay.views import Compared, Listed
from app.rules.local import ImportRefused
from app.rules.look import look_at
from app.sandbox import Sandbox
from app.storage import Storage

log = logging.getLogger(__name__)

CONFIGURATION = "configuration"
"""How the audit log names what was declared there."""

OnChange = Callable[[str], Awaitable[object]]


class Overlays:
    """The organisation's decisions on single rules of upstreams.

    `declared` are those of the configuration. `sandbox` reads texts (short). `on_change` is called after what is
    served has changed, so that a publication can follow. Refusals are `FederationError`s.
    """

    def __init__(
        self, storage: Storage, sandbox: Sandbox, declared: Sequence[Overlay], on_change: OnChange
    ) -> None:
        self._storage = storage
        self._sandbox = sandbox
        self._declared = declared
        self._on_change = on_change
        self._decisions: list[Decision] = []
        self._settled = ""

    async def adopt(self, now: datetime, *, withdraw: bool = True) -> None:
        """Take the configuration's entries over, at start; one that cannot be used is logged and told as such.

        With `withdraw`, entries that are configured no more are removed: not when a verb of the command line runs
        without a server, perhaps with another configuration.
        """
        self._decisions = [await self._read(entry) for entry in self._declared]
        await self._settle(now, withdraw=withdraw)

    async def settle(self, now: datetime) -> None:
        """Let entries end whose time is over, and pins find a text that came since; publishes what changed."""
        since, at = self._settled, to_text(now)
        if await self._storage.read(lambda db: entries.is_due(db, since, at)) and (
            await self._settle(now, withdraw=True)
        ):
            await self._on_change("overlay entries ended or took effect")

    async def list_entries(self, now: datetime, rule_id: str | None) -> list[Listed]:
        """Every entry, or those of one rule."""
        return await self._storage.read(lambda db: views.list_entries(db, to_text(now), rule_id))

    async def show(self, entry_id: str, now: datetime) -> Compared:
        """One entry beside upstream's text; raises `UnknownEntry`, `SandboxError`."""
        listed, sides = await self._storage.read(lambda db: views.show_entry(db, entry_id, to_text(now)))
        found = await self._sandbox.call(compare, sides)
        return Compared(
            **msgspec.structs.asdict(listed),
            base_text=sides.base,
            upstream_text=sides.now,
            **msgspec.structs.asdict(found),
        )

    async def add(self, decision: Decision, text: str | None, actor: Actor) -> Listed:
        """Make an entry and publish what it changes; `text` is that of a replacement.

        Raises `EntryRefused`, `ImportRefused` with every mistake of the text, and `SandboxError`.
        """
        if text is not None:
            replacement = fit(decision.rule_id, "text", text, await self._sandbox.call(look_at, text))
            decision = msgspec.structs.replace(decision, replacement=replacement)
        at = to_text(actor.at)

        def make(db: Database) -> Listed:
            new = entries.add(db, decision, at)
            detail = {n: v for n, v in msgspec.structs.asdict(new).items() if n in _AUDITED and v is not None}
            _audit(db, actor, "overlay.add", new.rule_id, detail)
            store.settle(db, at)
            return next(e for e in views.list_entries(db, at, new.rule_id) if e.id == new.id)

        made = await self._storage.write(make)
        await self._on_change("overlay entry made")
        return made

    async def remove(self, entry_id: str, reason: str | None, actor: Actor) -> None:
        """Take an entry away and publish what that changes; raises `UnknownEntry`, `EntryRefused`."""

        def take(db: Database) -> None:
            old = entries.remove(db, entry_id)
            detail = {"id": old.id, "action": old.action} | ({"reason": reason} if reason else {})
            _audit(db, actor, "overlay.remove", old.rule_id, detail)
            store.settle(db, to_text(actor.at))

        await self._storage.write(take)
        await self._on_change("overlay entry removed")

    async def _settle(self, now: datetime, *, withdraw: bool) -> bool:
        """Declare and settle in one transaction; True when what is served changed."""
        at = to_text(now)

        def work(db: Database) -> tuple[entries.Declaration, bool]:
            declared = entries.declare(db, self._decisions, at, withdraw=withdraw)
            if declared:
                detail = {
                    "made": declared.made,
                    "removed": declared.removed,
                    "superseded": [{"rule": e.rule_id, "action": e.action} for e in declared.superseded],
                }
                _audit(db, Actor(CONFIGURATION, None, now), "overlay.declare", None, detail)
            return declared, store.settle(db, at)

        declared, has_changed = await self._storage.write(work)
        self._settled = at
        for entry in declared.superseded:
            log.warning(
                "overlay entry superseded by the configuration",
                extra={"rule": entry.rule_id, "action": entry.action, "owner": entry.owner},
            )
        return has_changed

    async def _read(self, entry: Overlay) -> Decision:
        decision = Decision(
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
        except ImportRefused as refused:
            log.warning(
                "overlay entry cannot be used; upstream's text is served",
                extra={"rule": entry.rule, "mistakes": msgspec.to_builtins(refused.mistakes)},
            )
            return decision
        return msgspec.structs.replace(decision, replacement=replacement)


_AUDITED = ("id", "action", "severity", "digest", "owner", "reason", "expires_at")


def _audit(db: Database, actor: Actor, action: str, target: str | None, detail: Mapping[str, object]) -> None:
    audit.append(
        db, at=actor.at, actor=actor.name, action=action, target=target, detail=detail, address=actor.address
    )
