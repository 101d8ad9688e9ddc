"""Expiry as people write it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.enrolment import parse_lifetime
from app.http.problem import Problem
from tests.clock import NOW

SECOND = NOW.replace(microsecond=0)
"""Tokens say instants in whole seconds."""


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("90d", SECOND + timedelta(days=90)),
        (" 12h ", SECOND + timedelta(hours=12)),
        ("30m", SECOND + timedelta(minutes=30)),
        ("2026-05-01", datetime(2026, 5, 1, tzinfo=UTC)),
        ("2026-05-01T02:00:00.900+02:00", datetime(2026, 5, 1, tzinfo=UTC)),
        ("2026-05-01T00:00:00Z", datetime(2026, 5, 1, tzinfo=UTC)),
    ],
)
def test_spans_and_instants(text: str, end: datetime) -> None:
    assert parse_lifetime(text, SECOND) == end


@pytest.mark.parametrize(
    "text",
    [
        *["", "d", "0d", "90", "90 d", "-1d", "1y", "1234567d", "1.5h", "tomorrow", "٣d", "9" * 5000 + "d"],
        *["2026-04-17T10:30:00Z", "2020-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-14:00"],
    ],
)
def test_refusals_name_the_field(text: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_lifetime(text, SECOND)
    assert caught.value.status == 400
    assert caught.value.detail == {"field": "expires"}


@given(st.text())
def test_any_text_is_an_end_in_the_future_or_a_refusal(text: str) -> None:
    try:
        assert parse_lifetime(text, SECOND) > SECOND
    except Problem as problem:
        assert problem.status == 400
