"""`Intel`: what the routes and jobs call to keep evidence and to serve the lists that follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlite_utils import Database

from app.access import audit
from app.access.networks import Networks
from app.access.principal import Actor
from app.consensus.policy import ConsensusPolicy
from app.http.response_cache import Book
from app.http.timestamps import to_text
from app.intel.indicators import store as indicator_store
from app.intel.indicators.model import Kind
from app.intel.indicators.store import (
    Indicator,
    all_indicators,
    delete_indicator,
    digest_of,
    note_sightings,
    put_entry,
)
from app.intel.policy import IntelPolicy
from app.intel.reports.reporter import Reporter
from app.intel.reports.sealed import keep_sealed
from app.intel.reports.threats import Channel, Threat, keep_threats
from app.intel.skills import store as skill_store
from app.intel.skills.recount import VoteCounter
from app.intel.skills.served import Skill, load_skills
from app.intel.skills.store import NewReport, NewVote, Side
from app.intel.skills.verdict import normal_name
from app.intel.telemetry import hourly_store
from app.privacy.anonymisation import Pseudonyms, to_hour
from app.sandbox import SandboxError
from app.storage import Storage


@dataclass(frozen=True, slots=True)
class Received:
    """What of a request of events is kept or counted; `clean` and `sealed` are no events that could be stored."""

    threats: Sequence[Threat]
    clean: int = 0
    sealed: Sequence[Any] = ()


class Intel:
    """Evidence in, lists out. Every method that keeps something returns when it is durable.

    `own` are the organisation's networks: no address in them is ever listed. `skill_list` and `indicator_list` are
    read again whenever a write here, a recount or a purge changed them: at once for an admin, within ten seconds
    for reports.
    """

    def __init__(
        self,
        storage: Storage,
        pseudonyms: Pseudonyms,
        policy: IntelPolicy,
        consensus: ConsensusPolicy,
        own: Networks,
        votes: VoteCounter,
    ) -> None:
        self.pseudonyms = pseudonyms
        self.consensus = consensus
        self.skill_list: Book[list[Skill]] = Book(storage, load_skills)
        self.indicator_list: Book[list[Indicator]] = Book(storage, self._listed)
        self._storage = storage
        self._policy = policy
        self._own = own
        self._votes = votes
        self._due_skills: set[str] = set()
        self._due_indicators: dict[str, str] = {}

    def changed(self) -> None:
        """Say that something else than this object changed what the lists rest on."""
        self.skill_list.changed()
        self.indicator_list.changed()

    async def keep_threats(
        self, channel: Channel, received: Received, reporter: Reporter, now: datetime
    ) -> None:
        """Store events, count what cannot be stored, and note which exact public addresses were reported."""
        hour, at = to_text(to_hour(now)), to_text(now)
        sources = [
            (threat.exact_source, threat.attack_type)
            for threat in received.threats
            if threat.exact_source is not None and not self._own.contains(threat.exact_source)
        ]
        counts = {
            hourly_store.THREATS: len(received.threats),
            hourly_store.CLEAN: received.clean,
            hourly_store.SEALED: len(received.sealed),
            hourly_store.KEYLESS: int(reporter.subject is None),
        }

        def work(db: Database) -> indicator_store.Outcome:
            hourly_store.tally(db, hour, counts)
            keep_threats(db, channel, received.threats, reporter, hour)
            if self._policy.keep_sealed:
                keep_sealed(db, received.sealed, reporter, hour)
            return note_sightings(db, sources, reporter, hour, at, self.consensus, self.pseudonyms)

        outcome = await self._storage.write(work)
        self._due_indicators |= outcome.due
        if outcome.changed:
            self.indicator_list.drifted()

    async def report_skills(self, reports: Sequence[NewReport], reporter: Reporter, now: datetime) -> None:
        """Keep reports that skills are a risk."""
        hour, at = to_text(to_hour(now)), to_text(now)
        counts = {
            hourly_store.SKILL_THREATS: len(reports),
            hourly_store.KEYLESS: int(reporter.subject is None),
        }

        def work(db: Database) -> skill_store.Outcome:
            hourly_store.tally(db, hour, counts)
            return skill_store.report_skills(db, reports, reporter, hour, at, self.consensus)

        self._note(await self._storage.write(work))

    async def vouch_for_skills(self, votes: Sequence[NewVote], reporter: Reporter, now: datetime) -> None:
        """Keep an identity's votes that skills can be trusted."""
        hour, at = to_text(to_hour(now)), to_text(now)

        def work(db: Database) -> skill_store.Outcome:
            hourly_store.tally(db, hour, {hourly_store.SKILL_TRUST: len(votes)})
            return skill_store.vouch_for_skills(db, votes, reporter, hour, at, self.consensus)

        self._note(await self._storage.write(work))

    async def recount_due(self, now: datetime) -> None:
        """Count what so many have spoken about that it is not counted with each report."""
        names, self._due_skills = self._due_skills, set()
        values, self._due_indicators = self._due_indicators, {}
        at, policy = to_text(now), self.consensus
        try:
            if await self._votes.count(names, policy, at):
                self.skill_list.drifted()
        except SandboxError:
            self._due_skills |= names
            raise
        for digest, value in values.items():
            count = partial(
                indicator_store.recount_indicator, kind="ip", digest=digest, value=value, at=at, policy=policy
            )
            if await self._storage.write(count):
                self.indicator_list.drifted()

    def _note(self, outcome: skill_store.Outcome) -> None:
        self._due_skills |= outcome.due
        if outcome.changed:
            self.skill_list.drifted()

    async def put_skills(
        self, side: Side, entries: Sequence[tuple[str, str | None]], actor: Actor, reason: str | None
    ) -> int:
        """Add an admin's entries `(name, hash)` to a list; returns how many were not there before."""
        rows = [(normal_name(name), name, skill_hash) for name, skill_hash in entries]

        def work(db: Database) -> int:
            added = skill_store.put_entries(db, side, rows, reason, actor.name, to_text(actor.at))
            detail = {"skills": [name for name, _, _ in rows], "reason": reason}
            _audit(db, actor, f"skill.{side}list", None, detail)
            return added

        added = await self._storage.write(work)
        self.skill_list.changed()
        return added

    async def forget_skills(self, side: Side, names: Sequence[str], actor: Actor) -> int:
        """Take skills off a list, with all that was reported of them; returns how many rows went."""

        def work(db: Database) -> int:
            gone = 0
            for name in names:
                rows = skill_store.forget_skill(db, side, name, to_text(actor.at), self.consensus)
                if rows:
                    _audit(db, actor, f"skill.un{side}list", name, {"rows": rows})
                gone += rows
            return gone

        gone = await self._storage.write(work)
        self.skill_list.changed()
        return gone

    async def put_indicator(
        self, kind: Kind, value: str, *, reputation: int, category: str, reason: str | None, actor: Actor
    ) -> Indicator:
        """Add or replace an admin's entry of a feed."""

        def work(db: Database) -> Indicator:
            entry = put_entry(
                db,
                kind,
                value,
                digest=digest_of(kind, value, self.pseudonyms),
                reputation=reputation,
                category=category,
                reason=reason,
                added_by=actor.name,
                at=to_text(actor.at),
            )
            detail = {"kind": kind, "reputation": reputation, "category": category, "reason": reason}
            _audit(db, actor, "indicator.add", value, detail)
            return entry

        entry = await self._storage.write(work)
        self.indicator_list.changed()
        return entry

    async def delete_indicator(self, kind: Kind, value: str, actor: Actor) -> tuple[int, int]:
        """Take a value off its feed and forget who reported it; returns rows of the list and sightings deleted."""

        def work(db: Database) -> tuple[int, int]:
            gone = delete_indicator(db, kind, value, digest_of(kind, value, self.pseudonyms))
            if any(gone):
                _audit(db, actor, "indicator.delete", value, {"entries": gone[0], "sightings": gone[1]})
            return gone

        gone = await self._storage.write(work)
        self.indicator_list.changed()
        return gone

    def _listed(self, db: Database) -> list[Indicator]:
        """The list without what lies in the organisation's own networks, whoever put it there."""
        return [entry for entry in all_indicators(db) if not self._own.contains(entry.value)]


def _audit(db: Database, actor: Actor, action: str, target: str | None, detail: dict[str, Any]) -> None:
    audit.append(
        db, at=actor.at, actor=actor.name, action=action, target=target, detail=detail, address=actor.address
    )
