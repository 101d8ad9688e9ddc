"""The `[consensus]` section: bounds and contradictions."""

from typing import Any

import msgspec
import pytest

from app.consensus.policy import ConsensusPolicy


def test_defaults_are_the_promise_and_have_no_mistakes() -> None:
    policy = ConsensusPolicy()
    assert (policy.threshold, policy.content_quorum, policy.canary_hours) == (3, 2, 0)
    assert policy.errors() == []


def test_a_quorum_that_no_text_can_reach_is_a_mistake() -> None:
    assert "content_quorum" in ConsensusPolicy(threshold=2, content_quorum=3).errors()[0]


def test_a_network_that_is_none_is_a_mistake() -> None:
    mistakes = ConsensusPolicy(nat_networks=("10.0.0.0/8", "10.0.0.1/8")).errors()
    assert len(mistakes) == 1
    assert "nat_networks" in mistakes[0]


@pytest.mark.parametrize(
    "section",
    [
        {"threshold": 0},
        {"content_quorum": 0},
        {"admin_issued": "none"},
        {"self_registered": "all"},
        {"quality": "lax"},
        {"canary_percent": 0},
        {"canary_percent": 101},
        {"cycle_seconds": 1},
        {"treshold": 3},
    ],
)
def test_out_of_bounds_or_unknown_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(section, ConsensusPolicy)
