"""Badges say what lists say, look the same to every reader, and let no name out of its place."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.intel.skills.badge import Knowledge, SkillIndex, badge, knowledge_of
from app.intel.skills.served import Skill
from app.intel.skills.verdict import Risk
from app.privacy.anonymisation import bounded

SVG = "{http://www.w3.org/2000/svg}"


def skill(
    name: str = "demo",
    *,
    reporters: int = 0,
    average: float = 0.0,
    trusted: bool = False,
    blocked: bool = False,
    allowed: bool = False,
) -> Skill:
    at = "2026-04-17T00:00:00.000Z"
    return Skill(
        name=name,
        trusted_as=name,
        risk=Risk(reporters, average, "LOW", name, None),
        first_reported=None,
        last_reported=None,
        confirmations=3 if trusted else 0,
        fingerprint=None,
        is_trusted=trusted,
        is_disputed=False,
        first_trusted=None,
        last_trusted=None,
        blocked_at=at if blocked else None,
        blocked_hash=None,
        allowed_at=at if allowed else None,
        allowed_hash=None,
        changed_at=at,
    )


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (None, "unknown"),
        (skill(), "unknown"),
        (skill(trusted=True), "clean"),
        (skill(allowed=True), "clean"),
        (skill(reporters=2, average=100), "unknown"),
        (skill(reporters=3, average=10), "issues"),
        (skill(reporters=3, average=70), "critical"),
        (skill(reporters=3, average=70, trusted=True), "critical"),
        (skill(blocked=True, trusted=True), "critical"),
    ],
)
def test_a_badge_says_what_the_lists_say(known: Skill | None, says: Knowledge) -> None:
    assert knowledge_of(known) == says


@given(st.sampled_from(["clean", "issues", "critical", "unknown"]), st.text(max_size=300))
def test_whatever_the_name_it_is_one_picture_and_nothing_that_runs(says: Knowledge, name: str) -> None:
    name = bounded(name, 200)
    root = ElementTree.fromstring(badge(says, name))
    assert root.tag == f"{SVG}svg"
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {"svg", "title", "rect", "g", "text"}
    assert {attribute for element in root.iter() for attribute in element.attrib} <= {
        *("width", "height", "role", "aria-label", "fill", "x", "y"),
        *("text-anchor", "font-family", "font-size"),
    }
    title = root.find(f"{SVG}title")
    assert title is not None
    assert (title.text or "").startswith(name)


def test_the_name_with_an_author_goes_before_the_name_alone() -> None:
    index, skills = SkillIndex(), [skill("demo"), skill("me/demo")]
    assert index.find(skills, ["me/demo", "demo"]) is skills[1]
    assert index.find(skills, ["you/demo", "demo"]) is skills[0]
    assert index.find(skills, ["other"]) is None
    assert index.find([skill("other")], ["other"]) is not None
