"""`IntelHarness`: the services of what clients report over a real database, and agents that report everything."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from app.access.networks import Networks
from app.access.principal import Actor
from app.consensus.policy import ConsensusPolicy
from app.intel.indicators.service import Indicators
from app.intel.personal_data import all_personal_data
from app.intel.policy import IntelPolicy
from app.intel.reporter import Reporter
from app.intel.reports.events import Cleaner, GuardEvent
from app.intel.reports.service import ReceivedEvents, Reports
from app.intel.skills.recount import VoteCounter
from app.intel.skills.service import Skills
from app.intel.skills.store import NewReport, NewVote
from app.privacy.anonymisation import Pseudonyms
from app.privacy.policy import RetentionPolicy
from app.privacy.retention import Retention
from app.privacy.subjects import Subjects
from app.sandbox import Sandbox
from app.storage import Storage
from tests.clock import NOW
from tests.database import enrol

NAMES = Pseudonyms(b"s" * 32)
POLICY = ConsensusPolicy()
ADMIN = Actor("admin", None, NOW)
EVIL = "45.83.64.7"

ALL_LISTED = (["evil"], ["good"], [EVIL])
"""What `IntelHarness.listed` returns when three agents have reported everything."""
NOTHING_LISTED: tuple[list[str], list[str], list[str]] = ([], [], [])


class IntelHarness:
    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.sandbox = Sandbox(30.0)
        self.votes = VoteCounter(storage, self.sandbox)
        self.skills = Skills(storage, POLICY, self.votes)
        self.indicators = Indicators(storage, NAMES, POLICY, Networks.parse(()))
        self.reports = Reports(storage, IntelPolicy(keep_sealed=True), self.indicators)
        data = all_personal_data(POLICY)
        self.retention = Retention(storage, RetentionPolicy(), data, self.invalidate)
        self.subjects = Subjects(storage, data, self.invalidate)

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path) -> "AsyncIterator[IntelHarness]":
        storage = Storage(folder)
        harness = cls(storage)
        yield harness
        await harness.sandbox.close()
        await storage.close()

    async def agents(self, number: int) -> list[Reporter]:
        def work(db: Database) -> None:
            for n in range(number):
                enrol(db, f"key-agent-{n}", subject=f"agent-{n}")

        await self.storage.write(work)
        return [Reporter(f"agent-{n}", f"key-agent-{n}", "10.0.0.1", None) for n in range(number)]

    async def report_all(self, who: Reporter, now: datetime = NOW) -> None:
        """Report everything that an agent can report here."""
        threat = Cleaner(NAMES, now).event(GuardEvent(attack_source=EVIL, attack_type="c2"))
        sealed = {"v": 1, "alg": "a", "kid": "k", "jwe": "e"}
        await self.reports.keep("threats", ReceivedEvents([threat], 0, [sealed]), who, now)
        await self.skills.report([NewReport("evil", "evil", "h", 90, "HIGH", [], "")], who, now)
        await self.skills.vote([NewVote("good", "good", None)], who, now)

    async def recount_due(self, now: datetime) -> None:
        await self.skills.recount_due(now)
        await self.indicators.recount_due(now)

    def invalidate(self) -> None:
        self.skills.known.invalidate()
        self.indicators.listed.invalidate()

    async def rows(self, table: str) -> int:
        (found,) = await self.storage.read(
            lambda db: db.conn.execute(f"SELECT count(*) FROM {table}").fetchone()
        )
        return int(found)

    async def listed(self) -> tuple[list[str], list[str], list[str]]:
        """Return what is on the blacklist, the whitelist and the IP feed."""
        self.invalidate()
        skills = await self.skills.known.current()
        return (
            [skill.name for skill in skills if skill.is_blacklisted],
            [skill.name for skill in skills if skill.is_whitelisted],
            [entry.value for entry in await self.indicators.listed.current()],
        )
