"""Which rules a filter keeps out, and what it says of that."""

import pytest

from app.federation.decide import Traits, excluded_because, has_filters
from app.federation.upstream import DirectoryUpstream, Filter

RULE = Traits("ATR-2026-00042", "tool-poisoning", "high", "stable", "")


def upstream(include: Filter | None = None, exclude: Filter | None = None) -> DirectoryUpstream:
    return DirectoryUpstream(name="atr", path="/rules", include=include or Filter(), exclude=exclude)


@pytest.mark.parametrize(
    ("include", "exclude", "reason"),
    [
        (None, None, None),
        (Filter(severity=("critical", "high")), None, None),
        (Filter(severity=("critical",)), None, "include: its severity is high"),
        (
            Filter(severity=("high",), category=("data-poisoning",)),
            None,
            "include: its category is tool-poisoning",
        ),
        (Filter(maturity=("stable",)), None, "include: its maturity is not given"),
        (Filter(id=("ATR-2026-00*",)), None, None),
        (Filter(id=("ATR-2025-*", "ATR-2026-0004?")), None, None),
        (Filter(id=("atr-2026-*",)), None, "include: its id is ATR-2026-00042"),
        (None, Filter(severity=("high",)), "exclude: its severity is high"),
        (None, Filter(severity=("high",), status=("draft",)), None),
        (
            None,
            Filter(severity=("high",), status=("stable",)),
            "exclude: its severity is high, its status is stable",
        ),
        (Filter(severity=("high",)), Filter(id=("*42",)), "exclude: its id is ATR-2026-00042"),
        (None, Filter(), None),
    ],
)
def test_a_rule_is_kept_out_with_every_reason_that_holds(
    include: Filter | None, exclude: Filter | None, reason: str | None
) -> None:
    configured = upstream(include, exclude)
    assert excluded_because(configured, RULE) == reason
    assert has_filters(configured) == (include is not None or exclude is not None)
