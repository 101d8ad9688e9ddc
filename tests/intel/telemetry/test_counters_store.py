"""Counts add up, per day, name and label, and no client can make labels without end."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from app.intel.telemetry.counters_store import (
    MAX_LABELS,
    OTHER,
    Count,
    add_daily,
    by_day,
    by_label,
    daily_total,
)
from tests.database import fresh

COUNTS = st.lists(
    st.tuples(
        st.sampled_from(["2026-04-16", "2026-04-17", "2026-05-01"]),
        st.builds(
            Count,
            st.sampled_from(["x", "y"]),
            st.sampled_from(["", "a", "b", "c"]),
            st.integers(0, 10**9),
        ),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(COUNTS)
def test_daily_counters_are_sums(sent: list[tuple[str, Count]]) -> None:
    db = fresh()
    labels: Counter[str] = Counter()
    days: Counter[str] = Counter()
    for day, count in sent:
        add_daily(db, day, [count])
        if count.name == "x" and count.n:
            labels[count.label] += count.n
            days[day] += count.n
    assert by_label(db, "x") == labels
    assert by_day(db, "x", since="") == days
    assert daily_total(db, "x") == labels.total()
    assert daily_total(db, "x", label="a") == labels["a"]
    assert daily_total(db, "x", since="2026-05-01") == days["2026-05-01"]


def test_labels_without_end_become_other_and_are_counted_still() -> None:
    db = fresh()
    for number in range(MAX_LABELS + 50):
        add_daily(db, "2026-04-17", [Count("x", f"label-{number}")])
    add_daily(db, "2026-04-17", [Count("x", "label-3")])
    add_daily(db, "2026-04-17", [Count("y", "fresh")])
    found = by_label(db, "x")
    assert len(found) == MAX_LABELS + 1
    assert found[OTHER] == 50
    assert found["label-3"] == 2
    assert by_label(db, "y") == {"fresh": 1}
