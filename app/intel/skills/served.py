"""The skill lists as they are served: admins' entries and what reports amount to, with no name on both."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlite_utils import Database

from app.http.timestamps import to_text
from app.intel.skills.verdict import (
    BLOCKED_LEVEL,
    BLOCKED_REPORTS,
    BLOCKED_RISK,
    CONFIRMATIONS,
    MIN_AVERAGE_RISK,
    Risk,
    name_hash,
)
from app.privacy.anonymisation import to_hour

OVERLAP = timedelta(days=7)
"""How much further back than `since` a list goes: clients send their own clock at their last attempt, failed ones
included (measured), and whoever misses a change never learns of it."""


@dataclass(frozen=True, slots=True)
class Skill:
    """All that is known of one name.

    `risk.display` and `trusted_as` are the name as those wrote it who put it on the one or the other list;
    `blocked_at` and `allowed_at` are the instants of an admin's entries.
    """

    name: str
    risk: Risk
    trusted_as: str
    first_reported: str | None
    last_reported: str | None
    confirmations: int
    fingerprint: str | None
    is_trusted: bool
    is_disputed: bool
    first_trusted: str | None
    last_trusted: str | None
    blocked_at: str | None
    blocked_hash: str | None
    allowed_at: str | None
    allowed_hash: str | None
    changed_at: str

    @property
    def is_blacklisted(self) -> bool:
        """On the blacklist on the usual terms."""
        return self.blocked_at is not None or self.risk.is_listed()

    @property
    def is_whitelisted(self) -> bool:
        """On the whitelist; the blacklist goes before it, whoever made the entry."""
        return (self.allowed_at is not None or self.is_trusted) and not self.is_blacklisted

    def is_risky(self, min_reports: int, min_risk: float) -> bool:
        """On the blacklist on other terms, which never list what is on the whitelist."""
        if self.is_whitelisted:
            return False
        return self.blocked_at is not None or self.risk.is_listed(min_reports, min_risk)

    @property
    def hash(self) -> str:
        """The hash that it is blacklisted under."""
        return self.blocked_hash or self.risk.skill_hash or name_hash(self.name)

    @property
    def trusted_hash(self) -> str | None:
        """The fingerprint that it is whitelisted with, if its supporters agree on one."""
        return self.allowed_hash if self.allowed_at is not None else self.fingerprint


@dataclass(frozen=True, slots=True)
class BlackTerms:
    """What a client asks of the blacklist; `since` None for all of it."""

    min_reports: int = CONFIRMATIONS
    min_risk: float = MIN_AVERAGE_RISK
    since: str | None = None


def since_text(since: datetime | None) -> str | None:
    """From when on changes are served to who asks for those since an instant; on the hour, to share answers."""
    if since is None:
        return None
    try:
        return to_text(to_hour(since) - OVERLAP)
    except OverflowError:
        return None


def load_skills(db: Database) -> list[Skill]:
    """Every name that an admin or an identity has said something of, by name."""
    rows = db.conn.execute(
        "WITH named AS (SELECT name FROM skill_standing UNION SELECT name FROM skill_entry)"
        " SELECT n.name, coalesce(b.display, s.reported_as), coalesce(w.display, s.trusted_as),"
        " s.reporters, s.average_risk, s.top_level, s.skill_hash, s.first_reported, s.last_reported,"
        " s.confirmations, s.fingerprint, s.is_trusted, s.is_disputed, s.first_trusted,"
        " s.last_trusted, b.at, b.hash, w.at, w.hash,"
        " max(coalesce(s.changed_at, ''), coalesce(b.at, ''), coalesce(w.at, ''))"
        " FROM named n LEFT JOIN skill_standing s ON s.name = n.name"
        " LEFT JOIN skill_entry b ON b.list = 'black' AND b.name = n.name"
        " LEFT JOIN skill_entry w ON w.list = 'white' AND w.name = n.name ORDER BY n.name"
    )
    return [_skill(row) for row in rows]


def _skill(row: tuple[Any, ...]) -> Skill:
    name, reported_as, trusted_as, reporters, average, top_level, skill_hash, *rest = row
    first_reported, last_reported, confirmations, fingerprint, trusted, disputed, *rest = rest
    first_trusted, last_trusted, *entries = rest
    return Skill(
        name,
        Risk(reporters or 0, average or 0.0, top_level or "LOW", reported_as or "", skill_hash),
        trusted_as or "",
        first_reported,
        last_reported,
        confirmations or 0,
        fingerprint,
        bool(trusted),
        bool(disputed),
        first_trusted,
        last_trusted,
        *entries,
    )


def blacklist(skills: list[Skill], terms: BlackTerms) -> bytes:
    """The body of the blacklist up to its last member; the riskiest first."""
    fit = [skill for skill in skills if skill.is_risky(terms.min_reports, terms.min_risk)]
    shown = [_black(skill) for skill in fit if terms.since is None or skill.changed_at >= terms.since]
    shown.sort(key=lambda item: (-item["avgRiskScore"], -item["reportCount"], item["skillName"]))
    return _body(shown)


def whitelist(skills: list[Skill], since: str | None) -> bytes:
    """The body of the whitelist up to its last member; the most confirmed first, as clients take 1,000 at most."""
    fit = [skill for skill in skills if skill.is_whitelisted and (since is None or skill.changed_at >= since)]
    fit.sort(key=lambda skill: (-skill.confirmations, skill.name))
    return _body([_white(skill) for skill in fit])


def whole_whitelist(skills: list[Skill]) -> Iterator[dict[str, Any]]:
    """Every skill that somebody trusts, listed or not, and why not."""
    for skill in skills:
        if skill.allowed_at is None and skill.first_trusted is None:
            continue
        yield {
            "skillName": skill.trusted_as,
            "normalizedName": skill.name,
            "fingerprintHash": skill.trusted_hash,
            "confirmations": skill.confirmations,
            "status": _status(skill),
            "isAdminEntry": skill.allowed_at is not None,
            "isDisputed": skill.is_disputed,
            "firstReported": skill.first_trusted or skill.allowed_at,
            "lastReported": skill.last_trusted or skill.allowed_at,
        }


def _status(skill: Skill) -> str:
    if skill.is_whitelisted:
        return "confirmed"
    return "blacklisted" if skill.is_blacklisted else "pending"


def _white(skill: Skill) -> dict[str, Any]:
    """An admin's entry counts as confirmed: the public site's badge asks for three confirmations."""
    confirmations = max(skill.confirmations, CONFIRMATIONS)
    return {"name": skill.trusted_as, "hash": skill.trusted_hash, "confirmations": confirmations}


def _black(skill: Skill) -> dict[str, Any]:
    blocked = skill.blocked_at is not None
    return {
        "skillHash": skill.hash,
        "skillName": skill.risk.display,
        "avgRiskScore": BLOCKED_RISK if blocked else skill.risk.average,
        "maxRiskLevel": BLOCKED_LEVEL if blocked else skill.risk.top_level,
        "reportCount": max(skill.risk.reporters, BLOCKED_REPORTS) if blocked else skill.risk.reporters,
        "firstReported": skill.first_reported or skill.blocked_at,
        "lastReported": skill.last_reported or skill.blocked_at,
    }


def _body(shown: list[dict[str, Any]]) -> bytes:
    """ASCII only: Guards decode a body chunk by chunk and would break a character on a chunk's boundary."""
    data = json.dumps(shown, separators=(",", ":"))
    return f'{{"ok":true,"data":{data},"meta":{{"total":{len(shown)}}}'.encode("ascii")
