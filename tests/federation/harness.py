"""A federation on a real database with real sandboxes, and a folder as its upstream; the clock is a variable."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from app.access import audit_store
from app.access.principal import Actor
from app.federation.service import Federation
from app.federation.status import PullResult, UpstreamStatus
from app.federation.upstream import DirectoryUpstream, Upstream
from app.http.paging import Page
from app.storage import Storage
from tests.clock import NOW
from tests.example_rules import rule_text

IDS = [f"ATR-2026-{number:05d}" for number in range(1, 11)]


class Folder:
    """A folder of rule files that the test changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def write(self, rule_id: str, text: str | None = None, *, name: str | None = None) -> None:
        """One rule, in a file called after its id."""
        file = self.path / (name or f"{rule_id}.yaml")
        file.write_text(rule_text(rule_id) if text is None else text)

    def offer(self, rule_ids: Sequence[str]) -> None:
        """These rules and no others, each with its first text."""
        shutil.rmtree(self.path)
        self.path.mkdir()
        for rule_id in rule_ids:
            self.write(rule_id)

    def remove(self, *rule_ids: str) -> None:
        for rule_id in rule_ids:
            (self.path / f"{rule_id}.yaml").unlink()


@dataclass
class FederationHarness:
    folder: Path
    storage: Storage
    federation: Federation = field(init=False)
    upstreams: list[Upstream] = field(default_factory=list)
    now: datetime = NOW
    published: list[str] = field(default_factory=list)
    hold: str | None = None

    def rules(self, name: str = "atr") -> Folder:
        """The folder of an upstream."""
        return Folder(self.folder / "upstreams" / name)

    def directory(self, name: str = "atr", **options: Any) -> DirectoryUpstream:
        path = str(self.rules(name).path)
        return msgspec.convert(
            {"name": name, "path": path, "kind": "directory", **options}, DirectoryUpstream
        )

    async def configure(self, *upstreams: Upstream) -> None:
        """Start again with this configuration, as a restart would."""
        if hasattr(self, "federation"):
            await self.federation.close()
        self.upstreams = list(upstreams)
        self.federation = Federation(self.storage, upstreams, self.folder, self._publish, self._freeze_reason)
        await self.federation.adopt(self.now)

    async def pull(self, name: str = "atr") -> PullResult:
        self.now += timedelta(minutes=1)
        return await self.federation.pull(name, self.now)

    async def served(self, name: str = "atr") -> dict[str, str]:
        """`rule_id -> title` of what is in service and kept out by no filter."""
        rows = await self.storage.read(
            lambda db: db.execute(
                "SELECT r.rule_id, t.title FROM rule r JOIN rule_text t ON t.digest = r.digest"
                " WHERE r.origin = ? AND r.state = 'active' AND r.excluded IS NULL ORDER BY r.rule_id",
                [f"upstream:{name}"],
            ).fetchall()
        )
        return dict(rows)

    async def status(self, name: str = "atr") -> UpstreamStatus:
        return await self.federation.status(name, self.now)

    async def held(self, name: str = "atr") -> dict[str, tuple[str, list[str]]]:
        """`rule_id -> (change, reasons)`."""
        rows, _, _ = await self.federation.list_pending(name, Page(500, None), "held")
        return {row.rule_id: (row.change, row.reasons) for row in rows}

    async def approve(self, *rule_ids: str, digest: str | None = None) -> list[str]:
        approved, _ = await self.federation.approve(
            "atr", list(rule_ids) or None, self.by(), "looked at", digest
        )
        return approved

    async def refuse(self, *rule_ids: str) -> list[str]:
        return await self.federation.reject("atr", list(rule_ids) or None, self.by(), "not wanted")

    async def audited(self, action: str) -> list[dict[str, Any]]:
        """Details of the entries of this action, newest first."""
        entries = await self.storage.read(lambda db: audit_store.read(db, Page(500, None), action=action))
        return [entry.detail for entry in entries]

    async def count(self, table: str) -> int:
        found: int = await self.storage.read(
            lambda db: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        )
        return found

    def by(self) -> Actor:
        return Actor("rita (key 1)", "10.0.0.1", self.now)

    async def _publish(self, reason: str) -> int | None:
        self.published.append(reason)
        return len(self.published)

    async def _freeze_reason(self) -> str | None:
        return self.hold


@asynccontextmanager
async def harness_in(folder: Path) -> AsyncIterator[FederationHarness]:
    """An instance that pulls from one folder, `atr`, under the policy `mirror`."""
    storage = Storage(folder)
    made = FederationHarness(folder, storage)
    await made.configure(made.directory())
    yield made
    await made.federation.close()
    await storage.close()
