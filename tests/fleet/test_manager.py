"""What agents report to their manager of themselves."""

import msgspec

from app.fleet.agents import SelfReport
from app.fleet.manager import (
    AgentHeartbeat,
    AgentRegistration,
    DeviceHeartbeat,
    report_of_device,
    report_of_heartbeat,
    report_of_registration,
)
from app.privacy.anonymisation import Pseudonyms

PSEUDONYMS = Pseudonyms(b"k" * 32)


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
