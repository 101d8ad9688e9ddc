"""Badges: what this instance knows of a skill, as a small picture for a README. Pure.

Widths come from a table of average glyphs, since no font is at hand: a badge may be a pixel or two off.
"""

from collections.abc import Sequence
from html import escape
from typing import Literal

from app.intel.skills.served import Skill
from app.intel.skills.verdict import CONFIRMATIONS

Knowledge = Literal["clean", "issues", "critical", "unknown"]

LABEL = "ATR Scanned"
_GREY = "#555"
_SHOWN: dict[Knowledge, tuple[str, str]] = {
    "clean": ("No Issues", "#4c1"),
    "issues": ("Issues Found", "#dfb317"),
    "critical": ("CRITICAL", "#e05d44"),
    "unknown": ("Not Yet Scanned", "#9f9f9f"),
}
_NARROW, _WIDE = frozenset("fijlrtI.,:;'|! "), frozenset("mwMWABCDEGHKNOQRU")


def knowledge_of(skill: Skill | None) -> Knowledge:
    """Return what a badge may say of a skill, None for an unknown one.

    Reports count once as many independent identities stand behind them as the blacklist asks for, whatever risk they
    give: one report alone turns no badge yellow, or anybody could smear a skill.
    """
    if skill is None:
        return "unknown"
    if skill.is_blacklisted:
        return "critical"
    if skill.is_risky(CONFIRMATIONS, 0.0):
        return "issues"
    return "clean" if skill.is_whitelisted else "unknown"


class SkillIndex:
    """Skills by name; indexed again when the list is another one."""

    def __init__(self) -> None:
        self._skills: Sequence[Skill] = ()
        self._by_name: dict[str, Skill] = {}

    def find(self, skills: Sequence[Skill], names: Sequence[str]) -> Skill | None:
        """Return the first known skill of these normalised names, or None."""
        if skills is not self._skills:
            self._by_name = {skill.name: skill for skill in skills}
            self._skills = skills
        return next((self._by_name[name] for name in names if name in self._by_name), None)


def badge(knowledge: Knowledge, subject: str) -> str:
    """Return the picture, as SVG without scripts, styles or references; `subject` is its title."""
    text, colour = _SHOWN[knowledge]
    left, right = _width(LABEL) + 10, _width(text) + 10
    width = left + right
    title = escape(f"{subject}: {text}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{title}">'
        f"<title>{title}</title>"
        f'<rect width="{left}" height="20" fill="{_GREY}"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="{left / 2:g}" y="14">{LABEL}</text>'
        f'<text x="{left + right / 2:g}" y="14">{text}</text>'
        "</g></svg>"
    )


def _width(text: str) -> int:
    return sum(4 if character in _NARROW else 9 if character in _WIDE else 7 for character in text)
