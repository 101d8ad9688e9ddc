"""Threat events: what Guards, the ATR reporter and traps send, and what is kept of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from sqlite_utils import Database

from app.http.paging import Page
from app.intel.indicators.model import exact_address
from app.intel.reports.reporter import Reporter
from app.privacy.anonymisation import Pseudonyms, masked_address, reported_hour

Channel = Literal["threats", "trap", "manager"]
"""How an event came: `/api/threats`, `/api/trap-intel`, or the manager channel."""

CLEAN_RULE = "__clean__"
SHORT, LONG, MANY, DEEPEST = 64, 512, 20, 4
"""Characters of a word and of a text, items of a list, levels of what is nested; the rest is cut off."""
NONE_WORDS = {"", "none", "unknown", "UNKNOWN"}


class Event(msgspec.Struct, rename="camel", kw_only=True):
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
        """Says that a file was scanned and nothing found."""
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


class StoredThreat(msgspec.Struct, frozen=True, rename="camel"):
    """One kept event as admins see it; instants are hours."""

    id: int
    channel: Channel
    received: str
    hour: str
    subject: str | None
    source_network: str | None
    attack_type: str
    mitre_technique: str
    rule_ids: str
    region: str
    detail: dict[str, Any]


_NAMES = [field.encode_name for field in msgspec.structs.fields(StoredThreat)]
COLUMNS = ", ".join(StoredThreat.__struct_fields__)


class Cleaner:
    """Turns the events of one request into what may be stored.

    The same few words are in most of its events, so each is looked at once.
    """

    def __init__(self, pseudonyms: Pseudonyms, received: datetime) -> None:
        self._pseudonyms = pseudonyms
        self._received = received
        self._words: dict[tuple[str, int], str] = {}

    def event(self, event: Event) -> Threat:
        """An event of `/api/threats`; its `attack_type` must be there."""
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
        """An event of a trap; the user names in it were hashed without a salt, so they are hashed again."""
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
        """Any event: masked, rounded, bounded. Of `detail`, texts, numbers and lists of both are kept."""
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


def keep_threats(
    db: Database, channel: Channel, threats: Sequence[Threat], reporter: Reporter, received: str
) -> None:
    """Store events; `received` is an hour as text."""
    db.conn.executemany(
        "INSERT INTO threat (channel, received, hour, subject, client, source_network, attack_type,"
        " mitre_technique, rule_ids, region, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                channel,
                received,
                threat.hour,
                reporter.subject,
                reporter.client,
                threat.source_network,
                threat.attack_type,
                threat.mitre_technique,
                threat.rule_ids,
                threat.region,
                json.dumps(threat.detail, separators=(",", ":")),
            )
            for threat in threats
        ],
    )


def list_threats(db: Database, page: Page, channel: str | None = None) -> list[StoredThreat]:
    """Kept events, newest first: up to one more than `page.limit`, which tells that there is a next page."""
    conditions, values = ["1"], list[object]()
    if channel is not None:
        conditions.append("channel = ?")
        values.append(channel)
    if page.after is not None:
        conditions.append("id < CAST(? AS INTEGER)")
        values.extend(page.after)
    rows = db.conn.execute(
        f"SELECT {COLUMNS} FROM threat WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?",  # noqa: S608
        [*values, page.limit + 1],
    )
    return [
        msgspec.convert(dict(zip(_NAMES, (*row[:-1], json.loads(row[-1])), strict=True)), StoredThreat)
        for row in rows
    ]


def _texts(value: Any) -> list[str]:
    """A list of texts, or one that commas divide, as clients send either."""
    if isinstance(value, str):
        return [value]
    return [item for item in value[:MANY] if isinstance(item, str)] if isinstance(value, list) else []
