"""Analysis of skills, as far as it goes without a language model.

The public server asks a model; this instance has none and says so for each skill (`skipped_no_llm`, the public
server's own word). What it does do is notice that a skill which an identity knows has other contents now. Texts of
skills are hashed and never kept, and no rule is run on them: served patterns may take exponential time on a text
that was made for it, and agents run them anyway.

This module holds bodies and answers, the hash, and the SQL of the contents that each identity has seen a skill with
(table `skill_version`).
"""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from sqlite_utils import Database

from app.privacy.personal_data import Expiry, PersonalData, Rows

MAX_SKILLS = 10
MAX_TOOLS = 500
SHARED = "anonymous"
"""The subject whose history the skills of callers without a key go to: they share it, so it proves nothing."""


class Tool(msgspec.Struct, frozen=True):
    """One tool that a skill offers."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    description: str = ""


class SkillToAnalyse(msgspec.Struct, frozen=True):
    """One skill, named by its package."""

    package: Annotated[str, msgspec.Meta(min_length=1)]
    tools: Annotated[list[Tool], msgspec.Meta(max_length=MAX_TOOLS)] = []


class SkillsToAnalyse(msgspec.Struct, frozen=True):
    """The body of `POST /api/analyze-skills`."""

    skills: Annotated[list[SkillToAnalyse], msgspec.Meta(min_length=1, max_length=MAX_SKILLS)]


class Analysis(msgspec.Struct, frozen=True, rename="camel"):
    """The analysis of one skill; `rug_pull_detected`: the same identity last saw it with other contents."""

    package: str
    content_hash: str
    rug_pull_detected: bool
    threats_found: int = 0
    proposal_count: int = 0
    pattern_hashes: list[str] = []
    status: Literal["skipped_no_llm"] = "skipped_no_llm"
    cached: bool = False


class Analyses(msgspec.Struct, frozen=True, rename="camel"):
    """The answer in the public server's shape; `analyzed` counts what a model analysed: 0 here."""

    analyzed: int
    proposals_created: int
    cached_count: int
    rug_pull_count: int
    results: list[Analysis]


def content_hash(tools: Sequence[Tool]) -> str:
    """Return the SHA-256 (hex) of the tools in any order: `name\\ndescription` each, sorted, joined by NUL."""
    texts = sorted(f"{tool.name}\n{tool.description}" for tool in tools)
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def analyses_of(results: list[Analysis]) -> Analyses:
    """Sum the analyses up in the answer."""
    return Analyses(0, 0, 0, sum(result.rug_pull_detected for result in results), results)


KEPT = 20
"""Contents of one skill remembered for one identity; what is older goes."""


def record_version(db: Database, subject: str, package: str, digest: str, at: str) -> bool:
    """Record the contents; return True when this identity last saw the skill with other ones.

    Histories are kept apart: a host with an older version is no rug pull, and nobody can fake one for others.
    """
    row = db.conn.execute(
        "SELECT digest FROM skill_version WHERE subject = ? AND package = ? ORDER BY last_seen DESC, first_seen DESC"
        " LIMIT 1",
        [subject, package],
    ).fetchone()
    db.conn.execute(
        "INSERT INTO skill_version (subject, package, digest, first_seen, last_seen) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET last_seen = excluded.last_seen",
        [subject, package, digest, at, at],
    )
    if row is None or row[0] == digest:
        return False
    db.conn.execute(
        "DELETE FROM skill_version WHERE subject = ? AND package = ? AND digest NOT IN (SELECT digest FROM"
        " skill_version WHERE subject = ? AND package = ? ORDER BY last_seen DESC LIMIT ?)",
        [subject, package, subject, package, KEPT],
    )
    return True


def export_versions(db: Database, subject: str) -> Rows:
    """Return every skill that one identity had analysed."""
    return list(
        db.query(
            "SELECT package, digest, first_seen, last_seen FROM skill_version WHERE subject = ? ORDER BY 1, 3",
            [subject],
        )
    )


def erase_versions(db: Database, subject: str) -> int:
    """Delete them (the shared history belongs to nobody). Return how many rows."""
    if subject == SHARED:
        return 0
    return db.conn.execute("DELETE FROM skill_version WHERE subject = ?", [subject]).rowcount


def purge_versions(db: Database, before: str) -> int:
    """Delete what was last seen before an instant. Return how many rows."""
    return db.conn.execute("DELETE FROM skill_version WHERE last_seen < ?", [before]).rowcount


SKILL_VERSION_DATA = PersonalData(
    export=lambda db, subject: {"skillVersions": export_versions(db, subject)},
    erase=lambda db, subject, _at: {"skillVersions": erase_versions(db, subject)},
    expiries=(
        Expiry(
            "skillVersions",
            lambda policy: policy.skills_days,
            lambda db, before, _at: purge_versions(db, before),
        ),
    ),
)
