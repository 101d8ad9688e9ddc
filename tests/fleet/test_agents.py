"""Sync state and staleness of one agent, and what agents report to their manager of themselves."""

from datetime import timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.fleet.agents import (
    AgentHeartbeat,
    AgentRegistration,
    DeviceHeartbeat,
    FleetPolicy,
    SelfReport,
    is_stale,
    report_of_device,
    report_of_heartbeat,
    report_of_registration,
    stale_limit,
    sync_state_of,
)
from app.http.timestamps import to_text
from app.privacy.anonymisation import Pseudonyms
from tests.clock import NOW

DAY = timedelta(days=1)
PSEUDONYMS = Pseudonyms(b"k" * 32)


@given(st.none() | st.integers(1, 100), st.integers(0, 100))
def test_an_agent_is_current_only_with_the_newest_serial(serial: int | None, newest: int) -> None:
    state = sync_state_of(serial, newest)
    assert (state == "never") == (serial is None)
    if serial is not None:
        assert (state == "behind") == (serial < newest)


def test_a_key_that_was_never_used_is_stale_from_its_issue_on() -> None:
    limit = stale_limit(NOW, FleetPolicy(stale_hours=24))
    assert is_stale(None, to_text(NOW - DAY - timedelta(seconds=1)), limit)
    assert not is_stale(None, to_text(NOW - DAY), limit)
    assert not is_stale(to_text(NOW), to_text(NOW - 400 * DAY), limit)


def test_a_report_has_what_an_agent_says_of_its_host() -> None:
    assert report_of_registration(AgentRegistration("host\n1", "Linux 6.1", "x64", "1.0.0")) == SelfReport(
        hostname="host 1", os="Linux 6.1", arch="x64"
    )
    said = msgspec.convert({"eventsProcessed": 5, "uptime": 61_500, "memoryUsageMB": 80.5}, AgentHeartbeat)
    assert report_of_heartbeat(said) == SelfReport(events=5, uptime_seconds=61, memory_mb=80.5)
    device = report_of_device(DeviceHeartbeat("uuid-1", "host-1", "linux", 3, "1.6.0"), PSEUDONYMS)
    assert (device.agents, device.version, device.hostname) == (3, "1.6.0", "host-1")
    assert device.device == PSEUDONYMS.of("device", "uuid-1")


def test_the_version_that_every_guard_names_is_not_kept() -> None:
    """Stock Guards of all versions call themselves 1.0.0, or `guard`: shown, it would mislead."""
    assert report_of_registration(AgentRegistration("h", version="1.0.0")).version is None
    assert report_of_registration(AgentRegistration("h", version="1.9.0")).version == "1.9.0"
    assert report_of_device(DeviceHeartbeat("u", guard_version="guard"), PSEUDONYMS).version is None
