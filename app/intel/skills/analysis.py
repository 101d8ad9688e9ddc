"""Analysis of skills, as far as it goes without a language model.

The public server asks a model; this instance has none and says so for each skill (`skipped_no_llm`, the public
server's own word). What it does do is notice that a skill which an identity knows has other contents now. Texts of
skills are hashed and never kept, and no rule is run on them: served patterns may take exponential time on a text
that was made for it, and agents run them anyway.
"""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

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
