"""The skill lists as they are served: admins' entries and verdicts, with no name on both lists. Pure."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

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
included (measured), and a client that misses a change never learns of it."""


@dataclass(frozen=True, slots=True)
class Skill:
    """All that is known of one name.

    `risk.display` and `trusted_as` are the name as it was written by those who put it on the one or the other list;
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
        """True when it is on the blacklist on the usual query."""
        return self.blocked_at is not None or self.risk.is_listed()

    @property
    def is_whitelisted(self) -> bool:
        """True when it is on the whitelist; the blacklist goes before it, even for an admin's entry."""
        return (self.allowed_at is not None or self.is_trusted) and not self.is_blacklisted

    def is_risky(self, min_reports: int, min_risk: float) -> bool:
        """Return True when it is on the blacklist on other terms, which never list what is on the whitelist."""
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
class BlacklistQuery:
    """What a client asks of the blacklist; `since` is None for all of it."""

    min_reports: int = CONFIRMATIONS
    min_risk: float = MIN_AVERAGE_RISK
    since: str | None = None


def since_text(since: datetime | None) -> str | None:
    """Return from when on changes are served to a client that asks for those since an instant.

    It is an hour as text, so that clients share responses; None for everything.
    """
    if since is None:
        return None
    try:
        return to_text(to_hour(since) - OVERLAP)
    except OverflowError:
        return None


def blacklist(skills: list[Skill], query: BlacklistQuery) -> bytes:
    """Return the body of the blacklist up to its last member; the riskiest first."""
    listed = [skill for skill in skills if skill.is_risky(query.min_reports, query.min_risk)]
    shown = [_black(skill) for skill in listed if query.since is None or skill.changed_at >= query.since]
    shown.sort(key=lambda item: (-item["avgRiskScore"], -item["reportCount"], item["skillName"]))
    return _body(shown)


def whitelist(skills: list[Skill], since: str | None) -> bytes:
    """Return the body of the whitelist up to its last member; the most confirmed first: clients take 1,000."""
    listed = [
        skill for skill in skills if skill.is_whitelisted and (since is None or skill.changed_at >= since)
    ]
    listed.sort(key=lambda skill: (-skill.confirmations, skill.name))
    return _body([_white(skill) for skill in listed])


class TrustedSkill(msgspec.Struct, frozen=True, rename="camel"):
    """One skill with votes or an admin's entry, listed or not; `is_disputed`: with different fingerprints."""

    skill_name: str
    normalized_name: str
    fingerprint_hash: str | None
    confirmations: int
    status: Literal["confirmed", "pending", "blacklisted"]
    is_admin_entry: bool
    is_disputed: bool
    first_reported: str
    last_reported: str


def whole_whitelist(skills: list[Skill]) -> Iterator[TrustedSkill]:
    """Yield every skill that has a vote or an admin's entry, listed or not, and why not."""
    for skill in skills:
        first = skill.first_trusted or skill.allowed_at
        if first is None:
            continue
        yield TrustedSkill(
            skill_name=skill.trusted_as,
            normalized_name=skill.name,
            fingerprint_hash=skill.trusted_hash,
            confirmations=skill.confirmations,
            status=_status(skill),
            is_admin_entry=skill.allowed_at is not None,
            is_disputed=skill.is_disputed,
            first_reported=first,
            last_reported=skill.last_trusted or skill.allowed_at or first,
        )


def _status(skill: Skill) -> Literal["confirmed", "pending", "blacklisted"]:
    if skill.is_whitelisted:
        return "confirmed"
    return "blacklisted" if skill.is_blacklisted else "pending"


def _white(skill: Skill) -> dict[str, Any]:
    """Return a member of the whitelist; an admin's entry counts as three confirmations, for the public badge."""
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
