"""An edition: one publication ready to be served, held in memory and swapped whole.

Three representations (design section 4): `live` for partners, exactly the members of seed 001; `yaml` for
ATR tools; `guard` for stock Guards. All are ASCII-only JSON, because Guards decode a body chunk by chunk and
would break a character that falls on a chunk's boundary (measured, Guard 1.9.0).
"""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import msgspec

from app.http.prepared import PreparedBody
from app.http.timestamps import to_http_date, to_text
from app.publication.compose import Ring

Representation = Literal["live", "yaml", "guard"]
Sign = Callable[[bytes], str]


class ServedRule(msgspec.Struct, frozen=True):
    """All that the wire says of one rule; `guard_text` is None when no Guard could load it."""

    rule_id: str
    text: str
    guard_text: str | None
    source: str
    category: str
    severity: str
    mitre_techniques: str
    tags: str
    ring: Ring
    published_at: str


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """Where one rule lies inside a body, and what it can be filtered by."""

    start: int
    end: int
    published_at: str
    source: str
    category: str
    severity: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """One representation for one ring: the whole body, and the entries to cut a part of it."""

    body: PreparedBody
    entries: tuple[Entry, ...]
    etag: str
    oldest: str = field(init=False)
    """The smallest `published_at` in it; a `since` not after this asks for everything."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "oldest", min((e.published_at for e in self.entries), default=""))

    def excerpt(self, keep: Callable[[Entry], bool]) -> tuple[int, bytes]:
        """How many rules `keep` leaves, and their JSON text joined by commas."""
        kept = [self.body.plain[entry.start : entry.end] for entry in self.entries if keep(entry)]
        return len(kept), b",".join(kept)


@dataclass(frozen=True, slots=True)
class Edition:
    """A publication and its sheets; immutable, so that a reader never sees half of a change."""

    serial: int
    published_at: datetime
    digest: str
    sheets: dict[tuple[Representation, Ring], Sheet]
    withdrawals: tuple[tuple[str, str], ...]
    """`(rule_id, withdrawn_at)` of what left the set, oldest first."""
    last_modified: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "last_modified", to_http_date(self.published_at))

    def sheet(self, representation: Representation, *, canary: bool) -> Sheet:
        """The sheet for a client; without canary rules, both rings are the same one."""
        if canary and (representation, "canary") in self.sheets:
            return self.sheets[representation, "canary"]
        return self.sheets[representation, "stable"]

    def etag(self, total: int, variant: str = "") -> str:
        """`W/"<total>-<instant>"`, the form of seed 001, with a short mark for a filtered variant.

        Instants never repeat, so the tag names one set; weak, because `request_id` differs every time.
        """
        mark = f"-{hashlib.sha256(variant.encode()).hexdigest()[:8]}" if variant else ""
        return f'W/"{total}-{to_text(self.published_at)}{mark}"'

    def withdrawn_since(self, instant: str) -> list[str]:
        """Ids withdrawn at or after an instant (text as the database writes it)."""
        start = bisect_left(self.withdrawals, instant, key=lambda withdrawal: withdrawal[1])
        return [rule_id for rule_id, _ in self.withdrawals[start:]]

    def meta(self, representation: Representation, total: int, etag: str, since: str = "") -> dict[str, Any]:
        """The `meta` member: for `live` just what seed 001 prints."""
        if representation == "live":
            return {"total": total, "etag": etag}
        return {
            "total": total,
            "etag": etag,
            "serial": self.serial,
            "withdrawn": self.withdrawn_since(since),
        }


def print_edition(
    serial: int,
    published_at: datetime,
    digest: str,
    rules: Sequence[ServedRule],
    withdrawals: Sequence[tuple[str, str]],
    sign: Sign,
) -> Edition:
    """Encode, sign and compress every sheet (about half a second for 785 rules: call it in a thread)."""
    sheets: dict[tuple[Representation, Ring], Sheet] = {}
    edition = Edition(serial, published_at, digest, sheets, tuple(withdrawals))
    stable = [rule for rule in rules if rule.ring == "stable"]
    sheets["live", "stable"] = _sheet(edition, "live", "stable", stable, sign)
    for representation in ("yaml", "guard"):
        sheets[representation, "stable"] = _sheet(edition, representation, "stable", stable, sign)
        if len(stable) < len(rules):
            sheets[representation, "canary"] = _sheet(edition, representation, "canary", rules, sign)
    return edition


def _sheet(
    edition: Edition,
    representation: Representation,
    ring: Ring,
    rules: Sequence[ServedRule],
    sign: Sign,
) -> Sheet:
    parts = [b'{"ok":true,"data":[']
    position = len(parts[0])
    entries: list[Entry] = []
    for rule in rules:
        content = rule.guard_text if representation == "guard" else rule.text
        if content is None:
            continue
        encoded = _encode_rule(rule, content, None if representation == "live" else sign)
        if entries:
            parts.append(b",")
            position += 1
        parts.append(encoded)
        entries.append(
            Entry(
                position,
                position + len(encoded),
                rule.published_at,
                rule.source,
                rule.category,
                rule.severity,
            )
        )
        position += len(encoded)
    etag = edition.etag(len(entries), "" if representation == "live" else f"{representation}/{ring}")
    meta = edition.meta(representation, len(entries), etag)
    parts.append(b'],"meta":' + json.dumps(meta, separators=(",", ":")).encode("ascii"))
    return Sheet(PreparedBody.prepare(b"".join(parts)), tuple(entries), etag)


def _encode_rule(rule: ServedRule, content: str, sign: Sign | None) -> bytes:
    members = {
        "ruleId": rule.rule_id,
        "ruleContent": content,
        "publishedAt": rule.published_at,
        "source": rule.source,
        "category": rule.category,
        "severity": rule.severity,
        "mitreTechniques": rule.mitre_techniques,
        "tags": rule.tags,
    }
    if sign is not None:
        members["signature"] = sign(content.encode())
    return json.dumps(members, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def tail(request_id: str) -> bytes:
    """What closes every prepared body."""
    return b',"request_id":"' + request_id.encode("ascii") + b'"}'
