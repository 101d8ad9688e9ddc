"""What generations of the stock Guard make of rules; the figures are those of the 785 published ones."""

from pathlib import Path

import pytest

from app.fleet.guard_loading import CAP, GENERATIONS, Reading, read_served, read_written, summaries
from app.rules.guard import guard_text
from tests.example_rules import rule_text
from tests.rules.conftest import Doc

OLDEST, UNSIGNED, TEXTUAL, NEWEST = (generation.versions for generation in GENERATIONS)


def read(**different: str) -> Reading:
    reading = read_written(rule_text(**different))
    assert reading.refusal is None
    return reading


def test_the_published_rules(published_rules: list[Path]) -> None:
    readings = [read_written(path.read_text()) for path in published_rules]
    found = {summary.versions: summary for summary in summaries(readings, with_cap=False)}
    assert {versions: summary.loads for versions, summary in found.items()} == {
        OLDEST: 734,
        UNSIGNED: 734,
        TEXTUAL: 711,
        NEWEST: 734,
    }
    assert [len(summary.silent) for summary in found.values()] == [7] * 4
    capped = {summary.versions: summary for summary in summaries(readings, with_cap=True)}
    assert [summary.loads for summary in capped.values()] == [734, CAP, CAP, CAP]
    assert len(capped[NEWEST].over_cap) == 234
    assert len(capped[TEXTUAL].over_cap) == 211


@pytest.mark.parametrize(
    ("pattern", "is_dropped"),
    [
        (r"send (me )?the key", False),
        (r"(?:\w+\s+){2}key", True),
        (r"(ab+){1,3}", True),
        (r"(a+b){3}", False),
        (r"(a\+)+", True),
        (r"\w+(the|a) key", False),
    ],
)
def test_versions_in_between_drop_bounded_repetitions_too(pattern: str, *, is_dropped: bool) -> None:
    """Nothing here repeats a repetition without bound, so the newest Guard loads it."""
    reading = read(pattern=pattern)
    dropped = dict(zip([OLDEST, UNSIGNED, TEXTUAL, NEWEST], reading.dropped, strict=True))
    assert [versions for versions, reason in dropped.items() if reason] == ([TEXTUAL] if is_dropped else [])


def test_drafts_and_deprecated_rules_lie_still(doc: Doc) -> None:
    doc["status"] = "draft"
    assert set(read_served("x", guard_text(doc)).silent) == {"its status is draft"}
    doc |= {"status": "stable", "maturity": "deprecated"}
    assert read_served("x", guard_text(doc)).silent == (None, None, *["its maturity is deprecated"] * 2)


def test_what_is_no_rule_or_refused_is_said() -> None:
    assert "no rule" in str(read_written("- a list").refusal)
    refused = read_written(rule_text(pattern="(a+)+"))
    assert "repeats a group" in str(refused.refusal)
    assert summaries([refused], with_cap=True)[0].loads == 0


@pytest.fixture
def doc(published_docs: dict[str, Doc]) -> Doc:
    return dict(published_docs["ATR-2026-00150"])
