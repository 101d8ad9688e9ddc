"""The configuration sections: defaults, bounds, and a bad network found when the file is read."""

import msgspec
import pytest

from app.access.policy import AccessPolicy, LimitPolicy


def test_defaults_are_closed_to_the_network() -> None:
    policy = msgspec.toml.decode("", type=AccessPolicy)
    assert (policy.registration, policy.anonymous_read) == ("networks", "closed")
    assert policy.networks == ("127.0.0.0/8", "::1/128")
    assert msgspec.toml.decode("", type=LimitPolicy) == LimitPolicy()


@pytest.mark.parametrize(
    ("section", "kind", "at_fault"),
    [
        ('networks = ["10.0.0.0/8", "10.0.0.1/8"]', AccessPolicy, "10.0.0.1/8"),
        ('trusted_proxies = ["proxy.example"]', AccessPolicy, "proxy.example"),
        ('registration = "yes"', AccessPolicy, "registration"),
        ("registrations_per_hour = 0", AccessPolicy, "registrations_per_hour"),
        ("network = []", AccessPolicy, "network"),
        ("agent_per_minute = 0", LimitPolicy, "agent_per_minute"),
        ("live_burst = -1", LimitPolicy, "live_burst"),
    ],
)
def test_a_mistake_is_named(section: str, kind: type[object], at_fault: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=at_fault):
        msgspec.toml.decode(section, type=kind)
