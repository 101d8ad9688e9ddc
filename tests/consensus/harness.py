"""`ConsensusHarness`: a consensus on a real database with a real sandbox, and the people around it.

The clock is a variable of the harness. An example:

    async with ConsensusHarness.opened(tmp_path) as harness:
        await harness.confirm(short_rule_text())  # three independent agents propose the same rule
        await harness.consensus.run_cycle(harness.now)
        assert await harness.status() == "promoted"
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from sqlite_utils import Database

from app.access.key_store import KeyRecord, holder_of, revoke_key
from app.access.principal import Actor, Principal
from app.consensus.policy import ConsensusPolicy
from app.consensus.service import Consensus
from app.consensus.submission import Receipt
from app.rules.store import StoredRule, rule_of_pattern
from app.sandbox import Sandbox
from app.storage import Storage
from tests.clock import NOW
from tests.database import enrol, put_rule
from tests.example_rules import short_rule_text

DRAFT = '{"type":"skill-audit-finding","skillName":"s","riskLevel":"HIGH","findings":[],"needsLLMDraft":true}'
CATASTROPHIC = "^(?=((a+)+)$)"


def key(
    db: Database,
    subject: str,
    *,
    enrolled: Literal["admin", "self"] = "admin",
    site: str | None = None,
    address: str | None = None,
) -> KeyRecord:
    """Enrol somebody; a subject may have several keys."""
    number = db.conn.execute("SELECT count(*) FROM key").fetchone()[0]
    return enrol(db, f"key-{number}", subject=subject, enrolled=enrolled, site=site, address=address)


def hold_foreign(db: Database, rule_id: str, origin: str = "upstream:atr") -> None:
    """Let another origin hold a rule."""
    put_rule(db, rule_id, short_rule_text(rule_id, title=f"Held by {origin}"), origin=origin)


def local_id(pattern_hash: str) -> str:
    return f"ATR-LOCAL-{hashlib.sha256(pattern_hash.encode()).hexdigest()[:8]}"


def in_service(db: Database) -> list[StoredRule]:
    columns = ", ".join(field.name for field in fields(StoredRule))
    rows = db.query(
        f"SELECT {columns} FROM rule WHERE state IN ('active', 'canary') ORDER BY rule_id, origin"
    )
    return [StoredRule(**row) for row in rows]


@dataclass
class ConsensusHarness:
    storage: Storage
    sandbox: Sandbox
    consensus: Consensus
    now: datetime = NOW
    changes: list[str] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, folder: Path, policy: ConsensusPolicy | None = None, deadline: float = 5.0
    ) -> "AsyncIterator[ConsensusHarness]":
        """Start on the database in a folder, as a server would: open one twice, and it has been restarted."""
        storage, sandbox = Storage(folder), Sandbox(deadline)
        changes: list[str] = []

        async def on_change(reason: str) -> None:
            changes.append(reason)

        consensus = Consensus(storage, sandbox, sandbox, policy or ConsensusPolicy(), on_change)
        try:
            yield cls(storage, sandbox, consensus, changes=changes)
        finally:
            await sandbox.close()
            await storage.close()

    def forward(self, **span: float) -> None:
        self.now += timedelta(**span)

    async def agent(
        self,
        subject: str,
        *,
        enrolled: Literal["admin", "self"] = "admin",
        site: str | None = None,
        registered_from: str | None = None,
        address: str = "10.0.0.1",
    ) -> Principal:
        record = await self.storage.write(
            lambda db: key(db, subject, enrolled=enrolled, site=site, address=registered_from)
        )
        return holder_of(record, address)

    async def agents(self, number: int) -> list[Principal]:
        return [await self.agent(f"agent-{i}", address=f"10.0.1.{i}") for i in range(number)]

    async def submit(self, who: Principal, text: str, pattern_hash: str = "hash-1") -> Receipt:
        self.forward(seconds=1)
        receipt, _ = await self.consensus.submit(
            who,
            pattern_hash=pattern_hash,
            text=text,
            llm_provider="ollama",
            llm_model="llama3",
            self_review_verdict='{"approved":true}',
            client_id="not counted",
            now=self.now,
        )
        return receipt

    async def confirm(self, text: str, times: int = 3, pattern_hash: str = "hash-1") -> list[Principal]:
        """That many new admin-issued agents send the same text."""
        agents = [
            await self.agent(f"{pattern_hash}/{hashlib.sha256(text.encode()).hexdigest()[:8]}/{i}")
            for i in range(times)
        ]
        for agent in agents:
            await self.submit(agent, text, pattern_hash)
        return agents

    async def revoke(self, who: Principal) -> None:
        await self.storage.write(lambda db: revoke_key(db, who.key_id, self.now))

    def by(self, actor: str = "rita") -> Actor:
        return Actor(actor, "10.9.9.9", self.now)

    async def status(self, pattern_hash: str = "hash-1") -> str:
        return (await self.consensus.show(pattern_hash)).status

    async def rule_of(self, pattern_hash: str = "hash-1") -> StoredRule | None:
        return await self.storage.read(lambda db: rule_of_pattern(db, pattern_hash))

    async def served(self) -> dict[str, str]:
        """Rule ids in service and their origins."""
        return {held.rule_id: held.origin for held in await self.storage.read(in_service)}

    async def text_of(self, rule_id: str) -> str:
        query = "SELECT t.text FROM rule r JOIN rule_text t ON t.digest = r.digest WHERE r.rule_id = ?"
        row = await self.storage.read(lambda db: db.conn.execute(query, [rule_id]).fetchone())
        text: str = row[0]
        return text

    async def audited(self) -> list[tuple[str, str]]:
        """Actor and action of every audit entry."""
        rows = await self.storage.read(
            lambda db: db.conn.execute("SELECT actor, action FROM audit ORDER BY id").fetchall()
        )
        return [(actor, action) for actor, action in rows]
