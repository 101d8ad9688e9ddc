"""Threat events as Guards, the ATR reporter, traps and managed agents send them, and what is kept of each. Pure.

The manager channel (`AgentEvent`) is how stock Guards of every version, the newest included, report events that this
instance can read. They send each event raw, with host, user, command line and file names in it. Only what a threat
report has is taken of it (`threat_of`); nothing else is stored.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.intel.indicators.model import exact_address
from app.privacy.anonymisation import Pseudonyms, masked_address, reported_hour

Channel = Literal["threats", "trap", "manager"]
"""The way an event came: `/api/threats`, `/api/trap-intel`, or the manager channel."""

CLEAN_RULE = "__clean__"
SHORT, LONG, MANY, DEEPEST = 64, 512, 20, 4
"""Characters of a word and of a text, items of a list, levels of nesting; the rest is cut off."""
NONE_WORDS = {"", "none", "unknown", "UNKNOWN"}


class GuardEvent(msgspec.Struct, rename="camel", kw_only=True):
    """One event as stock clients send it: Guards the first six members, the ATR reporter the others too."""

    attack_source: str | None = msgspec.field(name="attackSourceIP", default=None)
    attack_type: str | None = None
    mitre_technique: str | None = None
    sigma_rule_matched: str | None = None
    timestamp: str | None = None
    region: str | None = None
    industry: str | None = None
    atr_rules_matched: Any = None
    atr_category: str | None = None
    severity: Any = None
    confidence: Any = None
    content_hash: str | None = None
    scan_target: str | None = None
    sealed: Any = None

    @property
    def is_clean(self) -> bool:
        """True when a file was scanned and nothing found."""
        return CLEAN_RULE in (self.mitre_technique, self.sigma_rule_matched)


class Credential(msgspec.Struct):
    """A user name that a trap was tried with (hashed by the trap, unsalted) and how often."""

    username: str
    count: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 1


class TrapEvent(msgspec.Struct, rename="camel", kw_only=True):
    """One item of `POST /api/trap-intel`."""

    attack_type: str
    timestamp: str | None = None
    service_type: str | None = None
    source: str | None = msgspec.field(name="sourceIP", default=None)
    mitre_techniques: list[str] = []
    skill_level: Any = None
    intent: str | None = None
    tools: list[str] = []
    top_credentials: list[Credential] = []
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Threat:
    """One event, ready to be stored; `exact_source` never is (see `app.intel.indicators.model`)."""

    hour: str
    source_network: str | None
    exact_source: str | None
    attack_type: str
    mitre_technique: str
    rule_ids: str
    region: str
    detail: dict[str, Any]


class Cleaner:
    """Turns the events of one request into what may be stored.

    The same few words are in most of its events, so each word is scrubbed once.
    """

    def __init__(self, pseudonyms: Pseudonyms, received: datetime) -> None:
        self._pseudonyms = pseudonyms
        self._received = received
        self._words: dict[tuple[str, int], str] = {}

    def event(self, event: GuardEvent) -> Threat:
        """Clean an event of `/api/threats`; its `attack_type` must be there."""
        rules = [event.sigma_rule_matched, *_texts(event.atr_rules_matched)]
        named = dict.fromkeys(rule for rule in rules if rule and rule not in NONE_WORDS)
        return self.threat(
            source=event.attack_source,
            attack_type=event.attack_type or "",
            technique=event.mitre_technique,
            rule_ids=",".join(named),
            timestamp=event.timestamp,
            region=event.region,
            detail={
                "category": event.atr_category,
                "industry": event.industry,
                "severity": event.severity,
                "confidence": event.confidence,
                "contentHash": event.content_hash,
                "scanTarget": event.scan_target,
            },
        )

    def trap(self, event: TrapEvent) -> Threat:
        """Clean an event of a trap; the user names in it were hashed without a salt, so they are hashed again."""
        credentials = [
            {"user": self._pseudonyms.of("user", tried.username), "count": tried.count}
            for tried in event.top_credentials[:MANY]
        ]
        return self.threat(
            source=event.source,
            attack_type=event.attack_type,
            technique=",".join(event.mitre_techniques[:MANY]),
            rule_ids="",
            timestamp=event.timestamp,
            region=event.region,
            detail={
                "service": event.service_type,
                "skillLevel": event.skill_level,
                "intent": event.intent,
                "tools": event.tools[:MANY],
                "credentials": credentials,
            },
        )

    def threat(
        self,
        *,
        source: str | None,
        attack_type: str,
        technique: str | None,
        rule_ids: str,
        timestamp: str | None,
        region: str | None,
        detail: dict[str, Any],
    ) -> Threat:
        """Clean any event: masked, rounded, bounded. Of `detail`, texts, numbers and lists of both are kept."""
        return Threat(
            hour=reported_hour(timestamp, self._received),
            source_network=masked_address(source) if source else None,
            exact_source=exact_address(source) if source else None,
            attack_type=self._word(attack_type) or "unknown",
            mitre_technique=self._word(technique, LONG),
            rule_ids=self._word(rule_ids, LONG),
            region=self._word(region),
            detail={name: kept for name, value in detail.items() if (kept := self._value(value))},
        )

    def _word(self, text: str | None, limit: int = SHORT) -> str:
        if text is None or text in NONE_WORDS:
            return ""
        known = self._words.get((text, limit))
        if known is None:
            known = self._words[text, limit] = self._pseudonyms.scrubbed(text, limit)
        return known

    def _value(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return self._word(value, LONG)
        if isinstance(value, (bool, int, float)):
            return value
        if depth == DEEPEST:
            return None
        if isinstance(value, dict):
            found = {self._word(name): self._value(item, depth + 1) for name, item in [*value.items()][:MANY]}
            return {name: item for name, item in found.items() if item}
        if isinstance(value, list):
            return [kept for item in value[:MANY] if (kept := self._value(item, depth + 1))]
        return None


class RawEvent(msgspec.Struct, frozen=True):
    """The members of a raw event that are read; `metadata` may hold the other end's address and a MITRE technique."""

    category: str | None = None
    severity: str | None = None
    timestamp: str | None = None
    metadata: dict[str, Any] | None = None


class EventVerdict(msgspec.Struct, frozen=True):
    """The agent's verdict on an event: `benign`, `suspicious` or `malicious`, how sure it is, what it did."""

    conclusion: str | None = None
    confidence: Any = None
    action: str | None = None


class AgentEvent(msgspec.Struct, frozen=True):
    """The body of `POST /api/agents/{id}/events`."""

    event: RawEvent
    verdict: EventVerdict = EventVerdict()

    @property
    def is_benign(self) -> bool:
        """True when the agent found nothing wrong."""
        return self.verdict.conclusion == "benign"

    @property
    def is_malicious(self) -> bool:
        """True when the agent was sure; only then is the other end's address evidence against it."""
        return self.verdict.conclusion == "malicious"


def threat_of(sent: AgentEvent, cleaner: Cleaner) -> Threat:
    """Return the threat in a raw event, as stock Guards abstract it for `/api/threats` (measured, 1.4.5)."""
    metadata = sent.event.metadata or {}
    threat = cleaner.threat(
        source=_first_text(metadata, "sourceIP", "remoteAddress"),
        attack_type=sent.event.category or "",
        technique=_first_text(metadata, "mitreTechnique"),
        rule_ids="",
        timestamp=sent.event.timestamp,
        region=None,
        detail={
            "severity": sent.event.severity,
            "conclusion": sent.verdict.conclusion,
            "confidence": sent.verdict.confidence,
            "action": sent.verdict.action,
        },
    )
    return threat if sent.is_malicious else replace(threat, exact_source=None)


def _first_text(metadata: dict[str, Any], *names: str) -> str | None:
    found = (metadata.get(name) for name in names)
    return next((value for value in found if isinstance(value, str) and value), None)


def _texts(value: Any) -> list[str]:
    """Return the texts of a list, or the one text that a client sends instead of a list."""
    if isinstance(value, str):
        return [value]
    return [item for item in value[:MANY] if isinstance(item, str)] if isinstance(value, list) else []
