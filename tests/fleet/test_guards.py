"""The table of Guard versions, and how they treat rules; the figures are those of the 785 published ones."""

from pathlib import Path

import pytest

from app.fleet.guards import (
    CAP,
    GENERATIONS,
    TABLE,
    GuardReading,
    Place,
    place_of,
    read_served,
    read_written,
    row_of,
    summaries,
)
from app.rules.guard_form import guard_text
from app.rules.yaml_text import parse_yaml
from tests.example_rules import rule_text
from tests.rules.conftest import Doc
from tests.server import REPOSITORY

MEASURED = {
    # version: http 10.x, http 127.0.0.1, https 10.x, https name -> 10.x, https name -> 127.0.0.1, https other
    "1.4.5": "yes yes yes yes yes yes",
    "1.4.6": "no yes yes yes yes yes",
    "1.5.6": "no yes yes yes yes yes",
    "1.6.1": "no yes yes yes yes yes",
    "1.7.3": "no yes yes yes yes yes",
    "1.8.0": "no yes yes yes yes yes",
    "1.8.2": "no no no yes yes yes",
    "1.8.3": "no no no no yes yes",
    "1.9.0": "no no no no yes yes",
}

OLDEST, UNSIGNED, TEXTUAL, NEWEST = (generation.versions for generation in GENERATIONS)


def read(**different: str) -> GuardReading:
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
def doc(published_rules: list[Path]) -> Doc:
    (text,) = (text for path in published_rules if "id: ATR-2026-00150\n" in (text := path.read_text()))
    read = parse_yaml(text)
    assert isinstance(read, dict)
    return read


@pytest.mark.parametrize("version", MEASURED)
def test_each_measured_version_has_its_row(version: str) -> None:
    row, note = row_of(version)
    assert note is None
    assert version in row.measured
    assert [place in row.accepts for place in Place] == [word == "yes" for word in MEASURED[version].split()]


def test_what_is_measured_here_is_in_the_table_once() -> None:
    assert sorted(version for row in TABLE for version in row.measured) == sorted(MEASURED)
    assert [row.first for row in TABLE] == sorted({row.first for row in TABLE})


@pytest.mark.parametrize(
    ("version", "label"),
    [
        ("1.0.0", "1.4.5 and older"),
        ("v1.5.4", "1.4.6 to 1.5.4"),
        ("1.5.5", "1.5.5 to 1.6.1"),
        ("1.6.0", "1.5.5 to 1.6.1"),
        ("1.7.0", "1.7.0 to 1.7.3"),
        ("1.8.1", "1.8.2"),
        ("1.8.26", "1.8.3 to 1.9.0"),
        ("2.0.0", "1.4.6 to 1.5.4"),  # a number of spring 2026, not a newer Guard
        ("2.0.3", "1.4.6 to 1.5.4"),
        ("2.0.4", "1.8.3 to 1.9.0"),
        ("1.10.0", "1.8.3 to 1.9.0"),
        ("9.9.9-beta.1", "1.8.3 to 1.9.0"),
        ("latest", "1.8.3 to 1.9.0"),
        ("", "1.8.3 to 1.9.0"),
        ("1.4", "1.8.3 to 1.9.0"),
        ("1.4.5.6", "1.8.3 to 1.9.0"),
        ("1" * 5000, "1.8.3 to 1.9.0"),
    ],
)
def test_other_versions_get_a_row_and_a_note(version: str, label: str) -> None:
    row, note = row_of(version)
    assert row.label == label
    assert note


def test_the_way_for_the_unknown_works_with_every_version() -> None:
    assert all(Place.HTTPS_LOOPBACK_NAME in row.accepts for row in TABLE)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://localhost", Place.HTTPS_PRIVATE_ADDRESS),
        ("https://[fd00::1]:8443", Place.HTTPS_PRIVATE_ADDRESS),
        ("https://[::ffff:203.0.113.7]", Place.HTTPS_PRIVATE_ADDRESS),
        ("https://[fe90::1]", Place.HTTPS_OTHER),
        ("https://[2001:db8::1]", Place.HTTPS_OTHER),
        ("https://100.127.0.1", Place.HTTPS_PRIVATE_ADDRESS),
        ("https://100.128.0.1", Place.HTTPS_OTHER),
        ("http://localhost:8080/", Place.HTTP_LOOPBACK),
        ("http://203.0.113.7", Place.HTTP),
    ],
)
def test_a_url_leads_to_its_place(url: str, place: Place) -> None:
    assert place_of(url) is place


def test_the_guide_has_the_same_table() -> None:
    lines = (REPOSITORY / "docs" / "fleet.md").read_text().replace("**", "").splitlines()
    cells = {
        line.split("|")[1].split(",")[0].strip(): line.split("|")[2:-1]
        for line in lines
        if line.startswith("| ")
    }
    for row in TABLE:
        accepted = ["yes" if place in row.accepts else "no" for place in Place]
        assert [cell.strip() for cell in cells[row.label]] == [*accepted, row.registers]


def test_each_row_names_its_generation_in_order() -> None:
    assert tuple(dict.fromkeys(row.loading for row in TABLE)) == GENERATIONS
    assert [row.loading.is_capped for row in TABLE] == [row.first >= (1, 5, 5) for row in TABLE]
