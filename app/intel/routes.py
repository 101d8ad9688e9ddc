"""Statistics, version and badges: for every key, and without one where `access.anonymous_report` allows it."""

from datetime import datetime
from typing import Literal

import msgspec
from litestar import get
from litestar.params import FromPath
from litestar.response import Response

from app import __version__
from app.access.guards import instant_of, require_reporter
from app.http.envelope import AnyRequest, answer
from app.http.timestamps import to_text
from app.intel.skills.badge import SkillIndex, badge, knowledge_of
from app.intel.skills.verdict import normal_name
from app.privacy.anonymisation import bounded

BADGE_CACHING = {"Cache-Control": "private, max-age=300"}
_anybody = [require_reporter()]
_index = SkillIndex()


class Version(msgspec.Struct, frozen=True, rename="camel"):
    """The version that answers, and since when."""

    version: str
    environment: Literal["private"]
    started_at: str
    uptime_seconds: int


@get("/api/stats", guards=_anybody)
async def show_stats(request: AnyRequest) -> Response[bytes]:
    """Return the instance in numbers, as `atr tc status` and the public website read them; up to 30 seconds old."""
    numbers = await request.app.state.statistics.numbers(instant_of(request))
    return answer(request, numbers.stats)


@get("/api/metrics", guards=_anybody)
async def show_metrics(request: AnyRequest) -> Response[bytes]:
    """Return what the fleet scanned and found, as the public website shows it; up to 30 seconds old."""
    numbers = await request.app.state.statistics.numbers(instant_of(request))
    return answer(request, numbers.metrics)


@get("/api/version", guards=_anybody)
async def show_version(request: AnyRequest) -> Response[bytes]:
    """Return the version that answers."""
    started: datetime = request.app.state.started_at
    uptime = int((instant_of(request) - started).total_seconds())
    return answer(request, Version(__version__, "private", to_text(started), uptime))


@get("/api/badge/stats", guards=_anybody)
async def badge_stats(request: AnyRequest) -> Response[bytes]:
    """Return how many skills are known, by what their badges show; up to 30 seconds old."""
    numbers = await request.app.state.statistics.numbers(instant_of(request))
    return answer(request, numbers.badges)


@get("/api/badge/{author:str}/{skill:str}", guards=_anybody)
async def show_badge(request: AnyRequest, author: FromPath[str], skill: FromPath[str]) -> Response[bytes]:
    """Serve a badge (SVG) for a skill, by `author/skill` or by its name alone; not JSON, so without an envelope."""
    author, skill = bounded(author, 200), bounded(skill, 200)
    skills = await request.app.state.skills.known.current()
    found = _index.find(skills, [normal_name(f"{author}/{skill}"), normal_name(skill)])
    picture = badge(knowledge_of(found), f"{author}/{skill}")
    return Response(picture.encode(), media_type="image/svg+xml", headers=BADGE_CACHING)


statistics_handlers = [show_stats, show_metrics, show_version, badge_stats, show_badge]
