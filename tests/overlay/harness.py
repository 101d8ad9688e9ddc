"""`OverlayHarness`: upstreams' rules in a real database, and overlay entries on top of them.

An example:

    await harness.upstream_says(rule_text(RULE))
    await harness.add("disable")
    assert await harness.served() == {}
"""

from datetime import datetime, timedelta
from pathlib import Path

from sqlite_utils import Database

from app.access import audit_store
from app.access.principal import Actor
from app.config import load_config
from app.http.paging import Page
from app.http.timestamps import to_text
from app.overlay.config import Overlay
from app.overlay.entries import OverlayDecision, recompute_overlay
from app.overlay.resolve import OverlayAction
from app.overlay.service import Overlays
from app.overlay.views import OverlayEntrySummary
from app.publication.store import effective_members
from app.rules.inspect import inspect_text
from app.rules.store import put_text, store_rule, withdraw
from app.rules.validate import Profile
from app.sandbox import Sandbox
from app.storage import Storage
from tests.clock import NOW, NOW_TEXT

RULE = "ATR-2026-00001"


class OverlayHarness:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = Storage(folder)
        self.sandbox = Sandbox(5.0)
        self.published: list[str] = []
        self.versions = 0
        self.overlays = self.configured("")

    async def close(self) -> None:
        await self.sandbox.close()
        await self.storage.close()

    def configured(self, text: str) -> Overlays:
        """The entries as a server with this configuration has them."""
        path = self.folder / "config.toml"
        path.write_text(text)
        declared: tuple[Overlay, ...] = load_config(path, {}).overlay
        self.overlays = Overlays(self.storage, self.sandbox, declared, self._publish)
        return self.overlays

    async def _publish(self, reason: str) -> None:
        self.published.append(reason)

    async def upstream_says(
        self, text: str, *, name: str = "atr", label: str = "", excluded: str | None = None
    ) -> str:
        """An upstream brings this text, as a pull would; returns its digest."""
        self.versions += 1
        version, at = self.versions, NOW_TEXT

        def work(db: Database) -> str:
            looked = inspect_text(text, profile=Profile.PUBLISHED)
            assert looked.facts is not None
            digest = put_text(db, looked, text)
            db.conn.execute(
                "INSERT INTO upstream_version (id, upstream, label, digest, total, first_seen, last_seen)"
                " VALUES (?, ?, ?, '', 1, ?, ?)",
                [version, name, label or str(version), at, at],
            )
            rule_id = looked.facts.rule_id
            db.conn.execute("INSERT INTO upstream_rule VALUES (?, ?, ?, 'atr')", [version, rule_id, digest])
            store_rule(
                db,
                origin=f"upstream:{name}",
                rule_id=rule_id,
                digest=digest,
                state="active",
                at=at,
                source="atr",
                version=version,
            )
            db.conn.execute(
                "UPDATE rule SET excluded = ? WHERE origin = ? AND rule_id = ?",
                [excluded, f"upstream:{name}", rule_id],
            )
            recompute_overlay(db, at)
            return digest

        return await self.storage.write(work)

    async def upstream_drops(self, rule_id: str = RULE) -> None:
        def work(db: Database) -> None:
            withdraw(db, origin="upstream:atr", rule_id=rule_id, reason="dropped", at=NOW_TEXT)
            recompute_overlay(db, NOW_TEXT)

        await self.storage.write(work)

    async def add(
        self,
        action: OverlayAction,
        *,
        text: str | None = None,
        ends: timedelta | None = None,
        now: datetime = NOW,
        severity: str | None = None,
        version: str | None = None,
        rule_id: str = RULE,
    ) -> OverlayEntrySummary:
        decision = OverlayDecision(
            rule_id=rule_id,
            action=action,
            owner="soc",
            reason="test",
            severity=severity,
            version=version,
            expires_at=to_text(now + ends) if ends is not None else None,
        )
        return await self.overlays.add(decision, text, Actor("admin", None, now))

    async def served(self) -> dict[str, str]:
        """`rule_id -> text` of what would be published."""

        def read(db: Database) -> dict[str, str]:
            return {
                member.rule_id: db.execute(
                    "SELECT text FROM rule_text WHERE digest = ?", [member.digest]
                ).fetchone()[0]
                for member in effective_members(db)
            }

        return await self.storage.read(read)

    async def overlaid(self) -> list[str]:
        """Rules that table `overlaid` names."""
        rows = await self.storage.read(lambda db: db.execute("SELECT rule_id FROM overlaid").fetchall())
        return [rule_id for (rule_id,) in rows]

    async def listed(self, now: datetime = NOW) -> dict[str, OverlayEntrySummary]:
        """Every entry by action."""
        return {entry.action: entry for entry in await self.overlays.list_entries(now, None)}

    async def actions(self) -> list[str]:
        """What the audit log says, oldest first."""
        found = await self.storage.read(lambda db: audit_store.read(db, Page(100, None)))
        return [entry.action for entry in found][::-1]
