"""`Skills`: reports and votes in, the two lists out, an admin's entries in them, and the analysis of skills."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlite_utils import Database

from app.access import audit_store
from app.access.principal import Actor
from app.consensus.policy import ConsensusPolicy
from app.http.paging import Page
from app.http.response_cache import ResponseCache
from app.http.timestamps import to_text
from app.intel.reporter import Reporter
from app.intel.skills import store
from app.intel.skills.analysis_store import (
    SHARED,
    Analyses,
    Analysis,
    SkillToAnalyse,
    analyses_of,
    content_hash,
    record_version,
)
from app.intel.skills.recount import VoteCounter
from app.intel.skills.served import Skill
from app.intel.skills.store import NewReport, NewVote, RecordedVotes, Side, StoredReport
from app.intel.skills.verdict import normal_name
from app.intel.skills.verdict_store import load_skills
from app.intel.telemetry import counters_store
from app.privacy.anonymisation import bounded, to_hour
from app.sandbox import SandboxError
from app.storage import Storage

MAX_PACKAGE = 200


class Skills:
    """The known skills. Every method that keeps something returns when it is durable.

    `known` is reloaded after every change: at once for an admin's, within ten seconds for one by reports.
    """

    def __init__(self, storage: Storage, consensus: ConsensusPolicy, votes: VoteCounter) -> None:
        self.known: ResponseCache[list[Skill]] = ResponseCache(storage, load_skills)
        self._storage = storage
        self._consensus = consensus
        self._votes = votes
        self._due: set[str] = set()

    async def report(self, reports: Sequence[NewReport], reporter: Reporter, now: datetime) -> None:
        """Keep reports that skills are a risk."""
        hour, at = to_text(to_hour(now)), to_text(now)
        counts = {
            counters_store.SKILL_THREATS: len(reports),
            counters_store.KEYLESS: int(reporter.subject is None),
        }

        def work(db: Database) -> RecordedVotes:
            counters_store.add_hourly(db, hour, counts)
            return store.report_skills(db, reports, reporter, hour, at, self._consensus)

        self._note(await self._storage.write(work))

    async def vote(self, votes: Sequence[NewVote], reporter: Reporter, now: datetime) -> None:
        """Keep an identity's votes that skills can be trusted."""
        hour, at = to_text(to_hour(now)), to_text(now)

        def work(db: Database) -> RecordedVotes:
            counters_store.add_hourly(db, hour, {counters_store.SKILL_TRUST: len(votes)})
            return store.vote_for_skills(db, votes, reporter, hour, at, self._consensus)

        self._note(await self._storage.write(work))

    def _note(self, recorded: RecordedVotes) -> None:
        self._due |= recorded.due
        if recorded.changed:
            self.known.mark_stale()

    async def recount_due(self, now: datetime) -> None:
        """Count the skills that have too many votes for counting them with each report.

        Raises `SandboxError` when counting failed; the skills are then counted next time.
        """
        names, self._due = self._due, set()
        try:
            if await self._votes.count(names, self._consensus, to_text(now)):
                self.known.mark_stale()
        except SandboxError:
            self._due |= names
            raise

    async def list_reports(self, page: Page) -> list[StoredReport]:
        """Return reports, newest first: up to one more than `page.limit`, if there are more."""
        return await self._storage.read(lambda db: store.list_reports(db, page))

    async def put(
        self, side: Side, entries: Sequence[tuple[str, str | None]], actor: Actor, reason: str | None
    ) -> int:
        """Add an admin's entries `(name, hash)` to a list; return how many were not there before."""
        rows = [(normal_name(name), name, skill_hash) for name, skill_hash in entries]

        def work(db: Database) -> int:
            added = store.put_entries(db, side, rows, reason, actor.name, to_text(actor.at))
            detail = {"skills": [name for name, _, _ in rows], "reason": reason}
            _audit(db, actor, f"skill.{side}list", None, detail)
            return added

        added = await self._storage.write(work)
        self.known.invalidate()
        return added

    async def forget(self, side: Side, names: Sequence[str], actor: Actor) -> int:
        """Take skills off a list and delete all reports on them or votes for them; return how many rows went."""

        def work(db: Database) -> int:
            gone = 0
            for name in names:
                rows = store.forget_skill(db, side, name, to_text(actor.at), self._consensus)
                if rows:
                    _audit(db, actor, f"skill.un{side}list", name, {"rows": rows})
                gone += rows
            return gone

        gone = await self._storage.write(work)
        self.known.invalidate()
        return gone

    async def analyse(self, skills: Sequence[SkillToAnalyse], subject: str | None, now: datetime) -> Analyses:
        """Return for each skill whether its contents changed since this identity sent it; None: all without a key."""
        hashed = [
            (bounded(skill.package, MAX_PACKAGE) or "unnamed", content_hash(skill.tools)) for skill in skills
        ]

        def work(db: Database) -> list[Analysis]:
            return [
                Analysis(
                    name,
                    digest,
                    rug_pull_detected=record_version(db, subject or SHARED, name, digest, to_text(now)),
                )
                for name, digest in hashed
            ]

        return analyses_of(await self._storage.write(work))


def _audit(db: Database, actor: Actor, action: str, target: str | None, detail: dict[str, Any]) -> None:
    audit_store.append(
        db, at=actor.at, actor=actor.name, action=action, target=target, detail=detail, address=actor.address
    )
