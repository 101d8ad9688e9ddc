"""Skills over HTTP: reports, votes, analysis, and the lists in exactly the shapes that stock clients read."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import SkipValidationMarker
from litestar.types import ASGIApp
from msgspec import Meta

from app.access.principal import Actor, Principal, Role
from app.access.route_guards import require, require_reader, require_reporter
from app.http.described import described
from app.http.envelope import Answer, AnyRequest, request_id
from app.http.paging import Page, page_of_rows, paged
from app.http.prepared import JSON
from app.http.problem import bad_request, not_found
from app.http.requests import Batch, JsonBody, TolerantBody, TolerantKwarg
from app.http.timestamps import from_text
from app.intel.reporter import Reporter
from app.intel.skills.analysis_store import Analyses, SkillsToAnalyse
from app.intel.skills.served import (
    BlacklistQuery,
    TrustedSkill,
    blacklist,
    since_text,
    whitelist,
    whole_whitelist,
)
from app.intel.skills.service import Skills
from app.intel.skills.store import NewReport, NewVote, StoredReport
from app.intel.skills.verdict import CONFIRMATIONS, LEVELS, MIN_AVERAGE_RISK, normal_name
from app.privacy.anonymisation import Pseudonyms, bounded
from app.publication.served_set import closing

MAX_NAME, MAX_HASH, MAX_FINDINGS, MAX_REASON = 200, 128, 50, 500
_admins = [require(Role.ADMIN)]
_reporters = [require_reporter(Role.AGENT, Role.ADMIN)]
READERS = require_reader()
"""Called in the handler, as in app.publication.polled_routes: fleets poll these routes."""
Reason = Annotated[str, Meta(min_length=1, max_length=MAX_REASON)]


class SkillFinding(msgspec.Struct):
    """One finding of a scanner; its texts are bounded and lose addresses and names of people."""

    id: Any = ""
    category: Any = ""
    severity: Any = ""
    title: Any = ""


class SkillThreat(msgspec.Struct, rename="camel", kw_only=True):
    """The body of `POST /api/skill-threats`; one script sends its findings as a text."""

    skill_hash: Annotated[str, Meta(min_length=1)]
    skill_name: Annotated[str, Meta(min_length=1)]
    risk_score: Annotated[float, Meta(ge=0, le=100)]
    risk_level: str
    finding_summaries: list[SkillFinding] | str | None = None
    source: str | None = None


class SkillVote(msgspec.Struct, rename="camel", kw_only=True):
    """One skill of `POST /api/skill-whitelist`."""

    skill_name: Annotated[str, Meta(min_length=1)]
    fingerprint_hash: str | None = None


class SkillToBlock(msgspec.Struct, rename="camel", kw_only=True):
    """One skill of `POST /api/skill-blacklist`; without a hash, clients match it by name."""

    skill_name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
    skill_hash: Annotated[str, Meta(min_length=1, max_length=MAX_HASH)] | None = None
    reason: Reason | None = None


class SkillToForget(msgspec.Struct, rename="camel", kw_only=True):
    """The body of `DELETE /api/skill-blacklist` and `/api/skill-whitelist`: the skill by name or hash."""

    skill_name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)] | None = None
    skill_hash: Annotated[str, Meta(min_length=1, max_length=MAX_HASH)] | None = None


ThreatBatch = Annotated[
    Batch[SkillThreat], TolerantKwarg(member="skills", described=SkillThreat), SkipValidationMarker()
]
VoteBatch = Annotated[Batch[SkillVote], TolerantKwarg(member="skills"), SkipValidationMarker()]
BlockBatch = Annotated[Batch[SkillToBlock], TolerantKwarg(member="skills"), SkipValidationMarker()]


class BatchReceipt(msgspec.Struct, frozen=True):
    """How many items of a report were kept, and how many could not be understood."""

    message: str
    count: int
    skipped: int


class BlockedSkills(msgspec.Struct, frozen=True):
    """How many skills are blocked now that were not before, of how many named."""

    message: str
    added: int
    total: int


class ForgottenSkills(msgspec.Struct, frozen=True):
    """Which skills are off the list, and how many entries, reports or votes went with them."""

    message: str
    names: list[str]
    rows: int


class BlacklistedSkill(msgspec.Struct, rename="camel"):
    """One risky skill, as stock clients read it; `report_count` counts independent identities."""

    skill_hash: str
    skill_name: str
    avg_risk_score: float
    max_risk_level: Literal["LOW", "MEDIUM", "HIGH", "CRITICAL"]
    report_count: int
    first_reported: str
    last_reported: str


class WhitelistedSkill(msgspec.Struct):
    """One trusted skill, in the shape that stock clients read."""

    name: str
    hash: str | None
    confirmations: int


@post("/api/skill-threats", guards=_reporters)
async def report_skill_threats(
    skills: NamedDependency[Skills],
    pseudonyms: NamedDependency[Pseudonyms],
    data: ThreatBatch,
    reporter: NamedDependency[Reporter],
    now: NamedDependency[datetime],
) -> BatchReceipt:
    """Take reports of skills in which a scanner found something: one, or `{skills: [...]}`."""
    reports = [report for item in data.items if (report := _report(item, pseudonyms))]
    if data.items and not reports:
        raise bad_request(f"skillName: a visible name; riskLevel: one of {', '.join(LEVELS)}", "skillName")
    await skills.report(reports, reporter, now)
    return BatchReceipt("Skill threat received", len(reports), data.skipped + len(data.items) - len(reports))


@get("/api/skill-threats", guards=_admins, dependencies=paged(1))
async def show_skill_threats(
    skills: NamedDependency[Skills], page: NamedDependency[Page]
) -> Answer[list[StoredReport]]:
    """List what identities report of skills, newest first, one item for each identity, skill and hash."""
    return page_of_rows(await skills.list_reports(page), page, lambda report: [str(report.id)])


@get(
    "/api/skill-blacklist",
    **described(
        list[BlacklistedSkill],
        conditional=True,
        query={"minReports": int, "minAvgRisk": float, "since": datetime},
        opt={"guard": READERS},
    ),
)
async def show_blacklist(request: AnyRequest) -> ASGIApp:
    """Serve risky skills: by admins, or by `minReports` independent identities with `minAvgRisk` on average.

    `since` leaves out what has not changed for a week before that instant.
    """
    await READERS.admit(request)
    query = request.query_params
    wanted = BlacklistQuery(
        min_reports=int(_number(query.get("minReports"), "minReports", CONFIRMATIONS, 0, 1_000_000)),
        min_risk=_number(query.get("minAvgRisk"), "minAvgRisk", MIN_AVERAGE_RISK, 0, 100),
        since=since_text(_since(query.get("since"))),
    )
    skills: Skills = request.app.state.skills
    response = await skills.known.response(("black", wanted), lambda known: blacklist(known, wanted))
    return response.answer(request, JSON, closing(request_id(request)))


@post("/api/skill-blacklist", guards=_admins)
async def block_skills(
    skills: NamedDependency[Skills], data: BlockBatch, actor: NamedDependency[Actor]
) -> BlockedSkills:
    """Put skills on the blacklist at once, in the form that Guards act on: one, or `{skills: [...]}`."""
    entries = [
        (name, _hash(item.skill_hash)) for item in data.items if (name := _name(item.skill_name)) is not None
    ]
    if data.items and not entries:
        raise bad_request("skillName: a visible name is needed", "skillName")
    reason = next((item.reason for item in data.items if item.reason), None)
    added = await skills.put("black", entries, actor, reason)
    return BlockedSkills("Added to blacklist", added, len(entries))


@delete("/api/skill-blacklist", guards=_admins, status_code=200)
async def unblock_skill(
    skills: NamedDependency[Skills], data: JsonBody[SkillToForget], actor: NamedDependency[Actor]
) -> ForgottenSkills:
    """Take a skill off the blacklist, and delete every report on it; by `skillName` or by the `skillHash` listed."""
    wanted = normal_name(data.skill_name) if data.skill_name else None
    names = [
        skill.name
        for skill in await skills.known.current()
        if skill.name == wanted or (data.skill_hash and skill.hash == data.skill_hash)
    ]
    gone = await skills.forget("black", names, actor)
    if not gone:
        raise not_found("Nothing is known of this skill: give skillName, or skillHash as it is listed.")
    return ForgottenSkills("Removed from blacklist", names, gone)


@get(
    "/api/skill-whitelist",
    **described(list[WhitelistedSkill], conditional=True, query={"since": datetime}, opt={"guard": READERS}),
)
async def show_whitelist(request: AnyRequest) -> ASGIApp:
    """Serve skills that three independent identities or an admin trust, and that are not on the blacklist."""
    await READERS.admit(request)
    since = since_text(_since(request.query_params.get("since")))
    skills: Skills = request.app.state.skills
    response = await skills.known.response(("white", since), lambda known: whitelist(known, since))
    return response.answer(request, JSON, closing(request_id(request)))


@get("/api/skill-whitelist/all", guards=_admins)
async def show_whole_whitelist(skills: NamedDependency[Skills]) -> list[TrustedSkill]:
    """List every skill with a vote, including those that wait, are disputed, or are on the blacklist."""
    return [*whole_whitelist(await skills.known.current())]


@post("/api/skill-whitelist", guards=[require(Role.AGENT, Role.ADMIN)])
async def vote_for_skills(
    skills: NamedDependency[Skills],
    data: VoteBatch,
    principal: NamedDependency[Principal],
    reporter: NamedDependency[Reporter],
    actor: NamedDependency[Actor],
    now: NamedDependency[datetime],
) -> BatchReceipt:
    """Take an agent's votes that skills can be trusted, or an admin's entries: one, or `{skills: [...]}`.

    Stock Guards encode the body twice: a JSON text that holds JSON.
    """
    votes = [
        NewVote(normal_name(name), name, _hash(item.fingerprint_hash))
        for item in data.items
        if (name := _name(item.skill_name)) is not None
    ]
    if data.items and not votes:
        raise bad_request("skillName: a visible name is needed", "skillName")
    if principal.role is Role.ADMIN:
        entries = [(vote.display, vote.fingerprint) for vote in votes]
        await skills.put("white", entries, actor, None)
    else:
        await skills.vote(votes, reporter, now)
    skipped = data.skipped + len(data.items) - len(votes)
    return BatchReceipt(f"{len(votes)} skill(s) reported", len(votes), skipped)


@delete("/api/skill-whitelist", guards=_admins, status_code=200)
async def untrust_skill(
    skills: NamedDependency[Skills], data: JsonBody[SkillToForget], actor: NamedDependency[Actor]
) -> ForgottenSkills:
    """Take a skill off the whitelist, and delete every vote for it."""
    if data.skill_name is None:
        raise bad_request("skillName: a name is needed", "skillName")
    names = [normal_name(data.skill_name)]
    gone = await skills.forget("white", names, actor)
    if not gone:
        raise not_found("Nobody trusts a skill of this name.")
    return ForgottenSkills("Removed from whitelist", names, gone)


@post("/api/analyze-skills", guards=_reporters, status_code=200)
async def analyze_skills(
    skills: NamedDependency[Skills],
    data: TolerantBody[SkillsToAnalyse],
    reporter: NamedDependency[Reporter],
    now: NamedDependency[datetime],
) -> Analyses:
    """Return for each skill whether its contents changed for the caller; there is no model here to judge them."""
    return await skills.analyse(data.skills, reporter.subject, now)


def _report(item: SkillThreat, pseudonyms: Pseudonyms) -> NewReport | None:
    name, skill_hash, level = _name(item.skill_name), _hash(item.skill_hash), item.risk_level.strip().upper()
    if name is None or skill_hash is None or level not in LEVELS:
        return None
    return NewReport(
        name=normal_name(name),
        display=name,
        skill_hash=skill_hash,
        score=round(item.risk_score, 2),
        level=level,
        findings=_findings(item.finding_summaries, pseudonyms),
        source=bounded(item.source or "", 64),
    )


def _findings(found: list[SkillFinding] | str | None, pseudonyms: Pseudonyms) -> Any:
    if found is None:
        return []
    if isinstance(found, str):
        return pseudonyms.scrubbed(found, 2000)
    return [
        {
            member: pseudonyms.scrubbed(value, 200)
            for member, value in msgspec.structs.asdict(finding).items()
            if isinstance(value, str) and value
        }
        for finding in found[:MAX_FINDINGS]
    ]


def _name(text: str) -> str | None:
    name = bounded(text, MAX_NAME)
    return name if normal_name(name) else None


def _hash(text: str | None) -> str | None:
    return bounded(text, MAX_HASH) or None if text is not None else None


def _number(text: str | None, name: str, default: float, least: float, most: float) -> float:
    try:
        value = default if text is None else float(text[:32])
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise bad_request(f"{name}: a number from {least:g} to {most:g}", name)
    return value


def _since(text: str | None) -> datetime | None:
    try:
        return None if text is None else from_text(text)
    except ValueError as error:
        raise bad_request("since: an instant such as 2027-01-31T00:00:00Z", "since") from error


skill_handlers = [
    report_skill_threats,
    show_skill_threats,
    show_blacklist,
    block_skills,
    unblock_skill,
    show_whitelist,
    show_whole_whitelist,
    vote_for_skills,
    untrust_skill,
    analyze_skills,
]
