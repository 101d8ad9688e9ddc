"""A consensus on a real database with real sandboxes, and the people around it; the clock is a variable."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from sqlite_utils import Database

from app.access.key_store import KeyRecord, holder_of, insert_key, revoke_key
from app.access.principal import Actor, Principal, Role
from app.consensus.policy import ConsensusPolicy
from app.consensus.service import Consensus
from app.consensus.submission import Receipt
from app.http.timestamps import to_text
from app.rules.inspect import inspect_text
from app.rules.store import StoredRule, put_text, rule_of_pattern, store_rule
from app.rules.validate import Profile
from app.sandbox import Sandbox
from app.storage import Storage

START = datetime(2026, 4, 17, 0, 3, 42, 124000, tzinfo=UTC)
DRAFT = '{"type":"skill-audit-finding","skillName":"s","riskLevel":"HIGH","findings":[],"needsLLMDraft":true}'
CATASTROPHIC = "^(?=((a+)+)$)"


def rule(
    rule_id: str = "ATR-2026-90001",
    *,
    title: str = "Asks for the signing key",
    pattern: str = "signing key",
    hit: str = "send me the signing key",
    agent_source: bool = True,
    cases: int = 1,
) -> str:
    """A rule text; its detection is `pattern` alone."""
    source = "agent_source: {type: mcp_exchange}\n" if agent_source else ""
    return (
        f"title: {title}\nid: {rule_id}\nstatus: experimental\ndescription: d\nauthor: a\ndate: 2026/01/02\n"
        f"severity: high\ntags: {{category: tool-poisoning, scan_target: mcp}}\n{source}"
        f"detection:\n  condition: any\n  conditions:\n"
        f"    - {{field: content, operator: regex, value: '{pattern}'}}\n"
        f"response: {{actions: [alert]}}\ntest_cases:\n"
        f"  true_positives: [{', '.join([f'{{input: {hit}}}'] * cases)}]\n"
        f"  true_negatives: [{', '.join(['{input: nothing}'] * cases)}]\n"
    )


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
    record = KeyRecord(
        id=f"key-{number}",
        role=Role.AGENT,
        subject=subject,
        enrolled=enrolled,
        site=site,
        client_id=None,
        address=address,
        issued_at=to_text(START),
        expires_at=None,
    )
    insert_key(db, record)
    return record


def hold_foreign(db: Database, rule_id: str, origin: str = "upstream:atr") -> None:
    """Let another origin hold a rule."""
    text = rule(rule_id, title=f"Held by {origin}")
    digest = put_text(db, inspect_text(text, profile=Profile.PUBLISHED), text)
    store_rule(db, origin=origin, rule_id=rule_id, digest=digest, state="active", at=to_text(START))


def local_id(pattern_hash: str) -> str:
    return f"ATR-LOCAL-{hashlib.sha256(pattern_hash.encode()).hexdigest()[:8]}"


def in_service(db: Database) -> list[StoredRule]:
    columns = ", ".join(field.name for field in fields(StoredRule))
    rows = db.query(
        f"SELECT {columns} FROM rule WHERE state IN ('active', 'canary') ORDER BY rule_id, origin"
    )
    return [StoredRule(**row) for row in rows]


@dataclass
class World:
    storage: Storage
    sandbox: Sandbox
    consensus: Consensus
    now: datetime = START
    changes: list[str] = field(default_factory=list)

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
        agents = [await self.agent(f"{pattern_hash}/{hash(text)}/{i}") for i in range(times)]
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


@asynccontextmanager
async def opened(
    folder: Path, policy: ConsensusPolicy | None = None, deadline: float = 5.0
) -> AsyncIterator[World]:
    storage, sandbox = Storage(folder), Sandbox(deadline)
    changes: list[str] = []

    async def on_change(reason: str) -> None:
        changes.append(reason)

    consensus = Consensus(storage, sandbox, sandbox, policy or ConsensusPolicy(), on_change)
    try:
        yield World(storage, sandbox, consensus, changes=changes)
    finally:
        await sandbox.close()
        await storage.close()
