"""The instance in numbers, in the shapes that stock tools and the public website read. None leaves the instance.

They are computed at most once in `FRESH_SECONDS` and for each publication: everybody may ask, and a fleet's evidence
is large; but `atr tc sync` reads here, right after its push, how many rules are served (measured, 4.0.0).
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlite_utils import Database

from app.consensus.store import count_by_status
from app.fleet.store import count_agents_seen
from app.http.timestamps import to_text
from app.intel.reports.store import count_threats_by
from app.intel.skills.badge import knowledge_of
from app.intel.skills.served import Skill
from app.intel.skills.service import Skills
from app.intel.telemetry import counters_store
from app.intel.telemetry.store import scan_totals
from app.publication.publisher import Publisher
from app.publication.served_set import ServedSet
from app.storage import Storage

FRESH_SECONDS = 30
SEEN_DAYS = 30
"""An agent counts as protected when its key was used within so many days."""


class TypeCount(msgspec.Struct, frozen=True):
    """How many events of one attack type."""

    type: str
    count: int


class TechniqueCount(msgspec.Struct, frozen=True):
    """How many events of one MITRE technique."""

    technique: str
    count: int


class CategoryCount(msgspec.Struct, frozen=True):
    """How many served rules of one category."""

    category: str
    count: int


class SeverityCount(msgspec.Struct, frozen=True):
    """How many served rules of one severity."""

    severity: str
    count: int


class SourceCount(msgspec.Struct, frozen=True):
    """How many served rules of one source: `atr` or `atr-community`."""

    source: str
    count: int


class ProposalStats(msgspec.Struct, frozen=True):
    """How many proposals are in each state; `total` is of all states."""

    draft: int
    pending: int
    confirmed: int
    canary: int
    promoted: int
    quarantined: int
    rejected: int
    withdrawn: int
    total: int


class Stats(msgspec.Struct, frozen=True, rename="camel"):
    """`GET /api/stats`: rules are the served ones; threats are all that ever came, top lists those still kept."""

    total_threats: int
    total_rules: int
    top_attack_types: list[TypeCount]
    top_mitre_techniques: list[TechniqueCount]
    last_24h_threats: int = msgspec.field(name="last24hThreats")
    proposal_stats: ProposalStats
    skill_threats_total: int
    skill_blacklist_total: int
    rules_by_category: list[CategoryCount]
    rules_by_severity: list[SeverityCount]
    rules_by_source: list[SourceCount]


class Scanned(msgspec.Struct, frozen=True):
    """What one kind of scanner reported."""

    skills: int
    findings: int
    devices: int


class Sources(msgspec.Struct, frozen=True):
    """By kind of scanner."""

    bulk: Scanned
    cli: Scanned
    web: Scanned


class Metrics(msgspec.Struct, frozen=True, rename="camel"):
    """`GET /api/metrics`; protected agents are the identities whose key was used within `SEEN_DAYS`."""

    total_skills_scanned: int
    total_agents_protected: int
    total_threats_detected: int
    total_atr_rules: int
    whitelisted_skills: int
    blacklisted_skills: int
    sources: Sources
    last_updated: str


class BadgeStats(msgspec.Struct, frozen=True, rename="camel"):
    """`GET /api/badge/stats`: the skills that anything is known of, by what their badges say.

    An author is what stands before the `/` of a name that has one.
    """

    total_skills: int
    unique_authors: int
    clean: int
    issues: int
    critical: int
    unknown: int


class Numbers(msgspec.Struct, frozen=True):
    """All numbers of one moment."""

    stats: Stats
    metrics: Metrics
    badges: BadgeStats


class Statistics:
    """Computes the numbers on request and keeps the last ones."""

    def __init__(self, storage: Storage, publisher: Publisher, skills: Skills) -> None:
        self._storage = storage
        self._publisher = publisher
        self._skills = skills
        self._lock = asyncio.Lock()
        self._kept: tuple[int, datetime, Numbers] | None = None

    async def numbers(self, now: datetime) -> Numbers:
        """Return the numbers, at most `FRESH_SECONDS` old, of the publication that is served."""
        async with self._lock:
            served = self._publisher.served
            serial = served.serial if served is not None else 0
            if self._kept is None or self._kept[0] != serial or now >= self._kept[1]:
                rules, skills = _rules_of(served), await self._skills.known.current()
                numbers = await self._storage.read(lambda db: _numbers(db, rules, skills, now))
                self._kept = (serial, now + timedelta(seconds=FRESH_SECONDS), numbers)
            return self._kept[2]


def _rules_of(served: ServedSet | None) -> dict[str, Counter[str]]:
    """Count the served rules by category, severity and source."""
    entries = served.representation("yaml", canary=False).entries if served is not None else ()
    return {
        name: Counter(getattr(entry, name) for entry in entries)
        for name in ("category", "severity", "source")
    }


def _numbers(
    db: Database, served: dict[str, Counter[str]], skills: Sequence[Skill], now: datetime
) -> Numbers:
    ever = counters_store.hourly_totals(db)
    last_day = counters_store.hourly_totals(db, since=to_text(now - timedelta(hours=24)))
    rules = served["source"].total()
    badges = _badges(skills)
    stats = Stats(
        total_threats=ever.get(counters_store.THREATS, 0),
        total_rules=rules,
        top_attack_types=[TypeCount(*row) for row in count_threats_by(db, "attack_type", 10)],
        top_mitre_techniques=[TechniqueCount(*row) for row in count_threats_by(db, "mitre_technique", 10)],
        last_24h_threats=last_day.get(counters_store.THREATS, 0),
        proposal_stats=_proposals(count_by_status(db)),
        skill_threats_total=ever.get(counters_store.SKILL_THREATS, 0),
        skill_blacklist_total=sum(skill.is_blacklisted for skill in skills),
        rules_by_category=[CategoryCount(*item) for item in served["category"].most_common(20)],
        rules_by_severity=[SeverityCount(*item) for item in served["severity"].most_common()],
        rules_by_source=[SourceCount(*item) for item in served["source"].most_common()],
    )
    return Numbers(stats, _metrics(db, stats, sum(skill.is_whitelisted for skill in skills), now), badges)


def _metrics(db: Database, stats: Stats, trusted: int, now: datetime) -> Metrics:
    scans = {
        name: Scanned(scan.skills_scanned, scan.findings_count, scan.devices)
        for name, scan in scan_totals(db).items()
    }
    return Metrics(
        total_skills_scanned=sum(scan.skills for scan in scans.values()),
        total_agents_protected=count_agents_seen(db, to_text(now - timedelta(days=SEEN_DAYS))),
        total_threats_detected=stats.total_threats,
        total_atr_rules=stats.total_rules,
        whitelisted_skills=trusted,
        blacklisted_skills=stats.skill_blacklist_total,
        sources=Sources(bulk=scans["bulk-pipeline"], cli=scans["cli-user"], web=scans["web-scanner"]),
        last_updated=to_text(now),
    )


def _proposals(counted: Mapping[str, int]) -> ProposalStats:
    states = ProposalStats.__struct_fields__[:-1]
    return ProposalStats(**{state: counted.get(state, 0) for state in states}, total=sum(counted.values()))


def _badges(skills: Sequence[Skill]) -> BadgeStats:
    known = Counter(knowledge_of(skill) for skill in skills)
    named = (skill.name.partition("/") for skill in skills)
    return BadgeStats(
        total_skills=len(skills),
        unique_authors=len({author for author, slash, _ in named if slash}),
        clean=known["clean"],
        issues=known["issues"],
        critical=known["critical"],
        unknown=known["unknown"],
    )
