"""The verdict on a skill: whether it is listed, and how, by what independent identities report. Pure.

Stock clients look skills up by name (and `pga audit` by hash too), trust by name, and hash differently: what two
Guards found about one skill has the name in common at best (measured). So a skill is a normalised name here, and a
hash is served only when the identities that the entry rests on agree on it.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from app.consensus.policy import ConsensusPolicy
from app.consensus.votes import Voter, judge_independence

CONFIRMATIONS = 3
"""Independent identities that put a skill on either list; stock clients and the public server mean the same three."""

MIN_AVERAGE_RISK = 70.0
"""The average risk score (0 to 100) from which reports put a skill on the blacklist."""

BLOCKED_REPORTS, BLOCKED_RISK, BLOCKED_LEVEL = 5, 100.0, "CRITICAL"
"""The least that an admin's entry is served with: Guards from 1.7 on act on 5 reports and a risk of 50 only."""

LEVELS = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
_SPACE = re.compile(r"[\s\ufeff]+")


def normal_name(name: str) -> str:
    """Return the name in the form that all its spellings share: lower case, trimmed, white space as one `-`.

    The public server does the same.
    """
    return _SPACE.sub("-", name.strip().strip("\ufeff").lower())


def name_hash(name: str) -> str:
    """Return 16 hex digits that stand for a normalised name where clients want a hash and reports agree on none."""
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Report:
    """One identity's report that a skill is a risk; one identity may send several, with different hashes."""

    voter: Voter
    display: str
    skill_hash: str
    score: float
    level: str


@dataclass(frozen=True, slots=True)
class Risk:
    """The aggregate of the reports on one skill.

    `reporters` are the independent identities; of each, its highest score is in the `average` and the `top_level`.
    """

    reporters: int
    average: float
    top_level: str
    display: str
    skill_hash: str | None

    def is_listed(self, min_reports: int = CONFIRMATIONS, min_risk: float = MIN_AVERAGE_RISK) -> bool:
        """Return True when reports alone put the skill on the blacklist under these terms."""
        return self.reporters >= max(1, min_reports) and self.average >= min_risk


@dataclass(frozen=True, slots=True)
class TrustVote:
    """One identity's vote that a skill can be trusted."""

    voter: Voter
    display: str
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class Trust:
    """The aggregate of the votes for one skill.

    `confirmations` are the independent identities that agree, or, while too few do, all independent ones;
    `is_disputed` says that they sent different fingerprints.
    """

    confirmations: int
    is_trusted: bool
    is_disputed: bool
    display: str
    fingerprint: str | None


def risk_of(reports: Sequence[Report], policy: ConsensusPolicy) -> Risk:
    """Count reports, which come in order of time; the first of each identity says where it reported from."""
    by_subject: dict[str, list[Report]] = {}
    for report in reports:
        by_subject.setdefault(report.voter.subject, []).append(report)
    identities = [*by_subject.values()]
    verdicts = judge_independence([own[0].voter for own in identities], policy)
    counted = [own for own, verdict in zip(identities, verdicts, strict=True) if verdict.counted]
    if not counted:
        return Risk(0, 0.0, LEVELS[0], reports[0].display if reports else "", None)
    scores = [max(report.score for report in own) for own in counted]
    top = max((report.level for own in counted for report in own), key=LEVELS.index)
    hashes = Counter(name for own in counted for name in {report.skill_hash for report in own})
    return Risk(
        reporters=len(counted),
        average=round(sum(scores) / len(scores), 2),
        top_level=top,
        display=counted[0][0].display,
        skill_hash=_most(hashes, at_least=CONFIRMATIONS),
    )


def trust_of(votes: Sequence[TrustVote], policy: ConsensusPolicy) -> Trust:
    """Count votes, one of each identity, in order of time.

    A skill is trusted when three independent identities agree: on one fingerprint, or in sending none, or in that
    none of them sent another one. A fingerprint is served only when three sent that very one.
    """
    verdicts = judge_independence([vote.voter for vote in votes], policy)
    counted = [vote for vote, verdict in zip(votes, verdicts, strict=True) if verdict.counted]
    if not counted:
        return Trust(0, False, False, votes[0].display if votes else "", None)
    prints = Counter(vote.fingerprint for vote in counted if vote.fingerprint is not None)
    silent = len(counted) - prints.total()
    disputed, display = len(prints) > 1, counted[0].display
    best = _most(prints, at_least=CONFIRMATIONS)
    if best is not None:
        return Trust(prints[best], True, disputed, display, best)
    if not disputed:
        return Trust(len(counted), len(counted) >= CONFIRMATIONS, False, display, None)
    if silent >= CONFIRMATIONS:
        return Trust(silent, True, True, display, None)
    return Trust(len(counted), False, True, display, None)


def _most(found: Counter[str], *, at_least: int) -> str | None:
    """Return the most frequent value that so many sent, or None; of equals, the one that sorts first."""
    frequent = [name for name, count in found.items() if count >= at_least]
    return min(frequent, key=lambda name: (-found[name], name)) if frequent else None
