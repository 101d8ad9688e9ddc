"""Statistics, version and badges: for every key, and without one where `access.anonymous_report` allows it."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import PathParameter
from litestar.response import Response

from app import __version__
from app.access.route_guards import require_reporter
from app.http.described import described
from app.http.timestamps import to_text
from app.intel.skills.badge import SkillIndex, badge, knowledge_of
from app.intel.skills.service import Skills
from app.intel.skills.verdict import normal_name
from app.intel.statistics import BadgeStats, Metrics, Statistics, Stats
from app.privacy.anonymisation import bounded

BADGE_TYPE = "image/svg+xml"
BADGE_CACHING = {"Cache-Control": "private, max-age=300"}
MAX_NAME = 200
Name = Annotated[str, PathParameter(schema_extra={"minLength": 1, "maxLength": MAX_NAME})]
_anybody = [require_reporter()]
_index = SkillIndex()


class Version(msgspec.Struct, frozen=True, rename="camel"):
    """The version that answers, and since when."""

    version: str
    environment: Literal["private"]
    started_at: str
    uptime_seconds: int


@get("/api/stats", guards=_anybody)
async def show_stats(statistics: NamedDependency[Statistics], now: NamedDependency[datetime]) -> Stats:
    """Return the instance in numbers, as `atr tc status` and the public website read them; up to 30 seconds old."""
    return (await statistics.numbers(now)).stats


@get("/api/metrics", guards=_anybody)
async def show_metrics(statistics: NamedDependency[Statistics], now: NamedDependency[datetime]) -> Metrics:
    """Return what the fleet scanned and found, as the public website shows it; up to 30 seconds old."""
    return (await statistics.numbers(now)).metrics


@get("/api/version", guards=_anybody)
async def show_version(started_at: NamedDependency[datetime], now: NamedDependency[datetime]) -> Version:
    """Return the version that answers."""
    uptime = int((now - started_at).total_seconds())
    return Version(__version__, "private", to_text(started_at), uptime)


@get("/api/badge/stats", guards=_anybody)
async def badge_stats(statistics: NamedDependency[Statistics], now: NamedDependency[datetime]) -> BadgeStats:
    """Return how many skills are known, by what their badges show; up to 30 seconds old."""
    return (await statistics.numbers(now)).badges


@get("/api/badge/{author:str}/{skill:str}", guards=_anybody, **described(str, media=BADGE_TYPE))
async def show_badge(skills: NamedDependency[Skills], author: Name, skill: Name) -> Response[bytes]:
    """Serve a badge (SVG) for a skill, by `author/skill` or by its name alone; not JSON, so without an envelope."""
    author, skill = bounded(author, MAX_NAME), bounded(skill, MAX_NAME)
    known = await skills.known.current()
    found = _index.find(known, [normal_name(f"{author}/{skill}"), normal_name(skill)])
    picture = badge(knowledge_of(found), f"{author}/{skill}")
    return Response(picture.encode(), media_type=BADGE_TYPE, headers=BADGE_CACHING)


statistics_handlers = [show_stats, show_metrics, show_version, badge_stats, show_badge]
