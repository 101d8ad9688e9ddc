"""Skills over HTTP: reports, votes, and the lists in exactly the shapes that stock clients read."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, post
from litestar.types import ASGIApp
from msgspec import Meta

from app.access.guards import actor_of, instant_of, principal_of, require, require_reader, require_reporter
from app.access.principal import Actor
from app.access.roles import Role
from app.http.body import read_body
from app.http.envelope import AnyRequest, answer, request_id
from app.http.paging import cursor_for, page_of
from app.http.prepared import JSON
from app.http.problem import bad_request, not_found
from app.http.timestamps import from_text
from app.http.tolerant import read_batch
from app.intel.reports.routes import reporter
from app.intel.service import Intel
from app.intel.skills.served import BlackTerms, blacklist, since_text, whitelist, whole_whitelist
from app.intel.skills.store import NewReport, NewVote, list_reports
from app.intel.skills.verdict import CONFIRMATIONS, LEVELS, MIN_AVERAGE_RISK, normal_name
from app.privacy.anonymisation import Pseudonyms, bounded
from app.publication.served_set import closing

MAX_NAME, MAX_HASH, MAX_FINDINGS, MAX_REASON = 200, 128, 50, 500
_admins = [require(Role.ADMIN)]
READERS = require_reader()
"""Called in the handler, as in app.publication.distribution: fleets poll these routes."""
Reason = Annotated[str, Meta(min_length=1, max_length=MAX_REASON)]


class Finding(msgspec.Struct):
    """One finding of a scanner; a text of it is bounded and loses addresses and names of people."""

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
    finding_summaries: list[Finding] | str | None = None
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
    """The body of `DELETE /api/skill-blacklist` and `/api/skill-whitelist`: which skill is meant."""

    skill_name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)] | None = None
    skill_hash: Annotated[str, Meta(min_length=1, max_length=MAX_HASH)] | None = None


@post("/api/skill-threats", guards=[require_reporter(Role.AGENT, Role.ADMIN)])
async def report_skill_threats(request: AnyRequest) -> Response[bytes]:
    """A skill in which a scanner found something; one, or several as `{skills: [...]}`."""
    batch = await read_batch(request, SkillThreat, "skills")
    reports = [report for item in batch.items if (report := _report(item, _intel(request).pseudonyms))]
    if batch.items and not reports:
        raise bad_request(f"skillName: a visible name; riskLevel: one of {', '.join(LEVELS)}", "skillName")
    await _intel(request).report_skills(reports, reporter(request), instant_of(request))
    skipped = batch.skipped + len(batch.items) - len(reports)
    data = {"message": "Skill threat received", "count": len(reports), "skipped": skipped}
    return answer(request, data, status=201)


@get("/api/skill-threats", guards=_admins)
async def show_skill_threats(request: AnyRequest) -> Response[bytes]:
    """What identities report of skills, newest first, one item for each identity, skill and hash."""
    page = page_of(request.query_params, key_parts=1)
    rows = await request.app.state.storage.read(lambda db: list_reports(db, page))
    shown = rows[: page.limit]
    following = cursor_for([str(shown[-1].id)]) if len(rows) > page.limit else None
    return answer(request, shown, meta={"next": following})


@get("/api/skill-blacklist", opt={"guard": READERS})
async def show_blacklist(request: AnyRequest) -> ASGIApp:
    """Skills that are a risk: by admins, or by `minReports` independent identities with `minAvgRisk` on average.

    `since` leaves out what has not changed for a week before that instant.
    """
    await READERS.admit(request)
    query = request.query_params
    terms = BlackTerms(
        min_reports=int(_number(query.get("minReports"), "minReports", CONFIRMATIONS, 0, 1_000_000)),
        min_risk=_number(query.get("minAvgRisk"), "minAvgRisk", MIN_AVERAGE_RISK, 0, 100),
        since=since_text(_since(query.get("since"))),
    )
    page = await _intel(request).skill_list.page(("black", terms), lambda skills: blacklist(skills, terms))
    return page.answer(request, JSON, closing(request_id(request)))


@post("/api/skill-blacklist", guards=_admins)
async def block_skills(request: AnyRequest) -> Response[bytes]:
    """Put skills on the blacklist at once, in the form that Guards act on: one, or `{skills: [...]}`."""
    batch = await read_batch(request, SkillToBlock, "skills")
    entries = [
        (name, _hash(item.skill_hash)) for item in batch.items if (name := _name(item.skill_name)) is not None
    ]
    if batch.items and not entries:
        raise bad_request("skillName: a visible name is needed", "skillName")
    reason = next((item.reason for item in batch.items if item.reason), None)
    added = await _intel(request).put_skills("black", entries, _by(request), reason)
    data = {"message": "Added to blacklist", "added": added, "total": len(entries)}
    return answer(request, data, status=201)


@delete("/api/skill-blacklist", guards=_admins, status_code=200)
async def unblock_skill(request: AnyRequest) -> Response[bytes]:
    """Take a skill off the blacklist, and forget every report on it; by `skillName` or by the `skillHash` listed."""
    body = await read_body(request, SkillToForget)
    skills = await _intel(request).skill_list.current()
    wanted = normal_name(body.skill_name) if body.skill_name else None
    names = [s.name for s in skills if s.name == wanted or (body.skill_hash and s.hash == body.skill_hash)]
    gone = await _intel(request).forget_skills("black", names, _by(request))
    if not gone:
        raise not_found("Nothing is known of this skill: give skillName, or skillHash as it is listed.")
    return answer(request, {"message": "Removed from blacklist", "names": names, "rows": gone})


@get("/api/skill-whitelist", opt={"guard": READERS})
async def show_whitelist(request: AnyRequest) -> ASGIApp:
    """Skills that three independent identities or an admin trust, and that are not on the blacklist."""
    await READERS.admit(request)
    since = since_text(_since(request.query_params.get("since")))
    page = await _intel(request).skill_list.page(("white", since), lambda skills: whitelist(skills, since))
    return page.answer(request, JSON, closing(request_id(request)))


@get("/api/skill-whitelist/all", guards=_admins)
async def show_whole_whitelist(request: AnyRequest) -> Response[bytes]:
    """Every skill that somebody trusts, with those that wait, are disputed, or are on the blacklist."""
    return answer(request, [*whole_whitelist(await _intel(request).skill_list.current())])


@post("/api/skill-whitelist", guards=[require(Role.AGENT, Role.ADMIN)])
async def vouch_for_skills(request: AnyRequest) -> Response[bytes]:
    """An agent's votes that skills can be trusted, or an admin's entries: one, or `{skills: [...]}`.

    Stock Guards encode the body twice: a JSON text that holds JSON.
    """
    batch = await read_batch(request, SkillVote, "skills")
    votes = [
        NewVote(normal_name(name), name, _hash(item.fingerprint_hash))
        for item in batch.items
        if (name := _name(item.skill_name)) is not None
    ]
    if batch.items and not votes:
        raise bad_request("skillName: a visible name is needed", "skillName")
    if principal_of(request).role is Role.ADMIN:
        entries = [(vote.display, vote.fingerprint) for vote in votes]
        await _intel(request).put_skills("white", entries, _by(request), None)
    else:
        await _intel(request).vouch_for_skills(votes, reporter(request), instant_of(request))
    skipped = batch.skipped + len(batch.items) - len(votes)
    data = {"message": f"{len(votes)} skill(s) reported", "count": len(votes), "skipped": skipped}
    return answer(request, data, status=201)


@delete("/api/skill-whitelist", guards=_admins, status_code=200)
async def untrust_skill(request: AnyRequest) -> Response[bytes]:
    """Take a skill off the whitelist, and forget every vote for it."""
    body = await read_body(request, SkillToForget)
    if body.skill_name is None:
        raise bad_request("skillName: a name is needed", "skillName")
    names = [normal_name(body.skill_name)]
    gone = await _intel(request).forget_skills("white", names, _by(request))
    if not gone:
        raise not_found("Nobody trusts a skill of this name.")
    return answer(request, {"message": "Removed from whitelist", "names": names, "rows": gone})


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


def _findings(found: list[Finding] | str | None, pseudonyms: Pseudonyms) -> Any:
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


def _by(request: AnyRequest) -> Actor:
    return Actor(actor_of(request), principal_of(request).address, instant_of(request))


def _intel(request: AnyRequest) -> Intel:
    intel: Intel = request.app.state.intel
    return intel


skill_handlers = [
    report_skill_threats,
    show_skill_threats,
    show_blacklist,
    block_skills,
    unblock_skill,
    show_whitelist,
    show_whole_whitelist,
    vouch_for_skills,
    untrust_skill,
]
