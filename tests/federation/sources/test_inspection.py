"""Inspection of what lies in the spool."""

import pytest

from app.federation.sources.inspection import inspect_items
from app.federation.sources.spool import Spool
from tests.example_rules import rule_text
from tests.federation.hostile_entries import DUPLICATE_KEY, TOO_LONG


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        (b"\xff\xfe", "text", "UTF-8"),
        (b"title: \x00", "line 1", "U+0000"),
        (b"", "text", "empty"),
        (b"- a list", "text", "mapping"),
        (b"{", "line", "YAML"),
        (DUPLICATE_KEY.encode(), "line", "repeats"),
        (TOO_LONG.encode(), "text", "65536"),
        (b"x" * 300_000, "text", "65536"),
    ],
)
def test_what_is_no_rule_text_gets_a_reason(spool: str, text: bytes, field: str, says: str) -> None:
    good = rule_text().encode()
    with Spool(spool) as file:
        for content in (good, text, good):
            file.add("name", content)
    spans = [(item.start, item.size) for item in file.items]
    before, odd, after = inspect_items(spool, spans, "published")
    assert before == after
    assert before.text.encode() == good
    assert (odd.text, odd.rule_id, odd.inspection) == ("", "", None)
    assert odd.reason.startswith(field)
    assert says in odd.reason


def test_a_text_far_too_long_is_not_even_read(spool: str) -> None:
    with Spool(spool) as file:
        file.add("name", b"id: ATR-2026-66603\n" + b"x" * 5000)
    (inspected,) = inspect_items(spool, [(0, 10**9)], "published")  # the spool has no more than its beginning
    assert "65536" in inspected.reason
    assert inspected.stated_id == "ATR-2026-66603"
