"""The served set: one publication ready to be sent, kept in memory and replaced whole.

It has three representations (docs/api.md): `live` for partners, exactly the members of the Partner Live Sync
contract (docs/partner-live-sync.md); `yaml` for ATR tools; `guard` for stock Guards. All are ASCII-only JSON, because
Guards decode a body chunk by chunk and would break a character that falls at a chunk's end (measured, Guard 1.9.0).
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

RepresentationName = Literal["live", "yaml", "guard"]
Sign = Callable[[bytes], str]


class ServedRule(msgspec.Struct, frozen=True):
    """Everything that the wire says of one rule; `guard_text` is None when no Guard could load it."""

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


class IndexEntry(msgspec.Struct, frozen=True, array_like=True):
    """Where one rule lies inside a body, and what it can be filtered by."""

    start: int
    end: int
    published_at: str
    source: str
    category: str
    severity: str


@dataclass(frozen=True, slots=True)
class Representation:
    """One encoding of the set for one ring: the whole body, and an index to cut a part of it."""

    body: PreparedBody
    entries: tuple[IndexEntry, ...]
    etag: str
    oldest: str = field(init=False)
    """The smallest `published_at` in it; a `since` not after this asks for everything."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "oldest", min((e.published_at for e in self.entries), default=""))

    def excerpt(self, keep: Callable[[IndexEntry], bool]) -> tuple[int, bytes]:
        """Return how many rules `keep` leaves, and their JSON text joined by commas."""
        kept = [self.body.plain[entry.start : entry.end] for entry in self.entries if keep(entry)]
        return len(kept), b",".join(kept)


@dataclass(frozen=True, slots=True)
class ServedSet:
    """A publication and its representations; immutable, so that a reader never sees half of a change."""

    serial: int
    published_at: datetime
    digest: str
    representations: dict[tuple[RepresentationName, Ring], Representation]
    withdrawals: tuple[tuple[str, str], ...]
    """`(rule_id, withdrawn_at)` of what left the set, oldest first."""
    last_modified: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "last_modified", to_http_date(self.published_at))

    def representation(self, name: RepresentationName, *, canary: bool) -> Representation:
        """Return the representation for a client; without canary rules, both rings share one."""
        if canary and (name, "canary") in self.representations:
            return self.representations[name, "canary"]
        return self.representations[name, "stable"]

    def etag(self, total: int, variant: str = "") -> str:
        """Return `W/"<total>-<instant>"`, with eight characters more for a filtered variant.

        Instants never repeat, so the tag names one set. It is weak because `request_id` differs every time.
        """
        suffix = f"-{hashlib.sha256(variant.encode()).hexdigest()[:8]}" if variant else ""
        return f'W/"{total}-{to_text(self.published_at)}{suffix}"'

    def withdrawn_since(self, instant: str) -> list[str]:
        """Return the ids withdrawn at or after an instant (text as the database writes it)."""
        start = bisect_left(self.withdrawals, instant, key=lambda withdrawal: withdrawal[1])
        return [rule_id for rule_id, _ in self.withdrawals[start:]]

    def meta(self, name: RepresentationName, total: int, etag: str, since: str = "") -> dict[str, Any]:
        """Build the `meta` member: total and ETag alone for `live`, serial and withdrawn ids for the others."""
        if name == "live":
            return {"total": total, "etag": etag}
        return {
            "total": total,
            "etag": etag,
            "serial": self.serial,
            "withdrawn": self.withdrawn_since(since),
        }


def render(
    serial: int,
    published_at: datetime,
    digest: str,
    rules: Sequence[ServedRule],
    withdrawals: Sequence[tuple[str, str]],
    sign: Sign,
) -> ServedSet:
    """Encode, sign and compress every representation (about half a second for 785 rules: call it in a thread)."""
    representations: dict[tuple[RepresentationName, Ring], Representation] = {}
    served = ServedSet(serial, published_at, digest, representations, tuple(withdrawals))
    stable = [rule for rule in rules if rule.ring == "stable"]
    representations["live", "stable"] = _render_representation(served, "live", "stable", stable, sign)
    for name in ("yaml", "guard"):
        representations[name, "stable"] = _render_representation(served, name, "stable", stable, sign)
        if len(stable) < len(rules):
            representations[name, "canary"] = _render_representation(served, name, "canary", rules, sign)
    return served


def _render_representation(
    served: ServedSet,
    name: RepresentationName,
    ring: Ring,
    rules: Sequence[ServedRule],
    sign: Sign,
) -> Representation:
    parts = [b'{"ok":true,"data":[']
    position = len(parts[0])
    entries: list[IndexEntry] = []
    for rule in rules:
        content = rule.guard_text if name == "guard" else rule.text
        if content is None:
            continue
        encoded = _encode_rule(rule, content, None if name == "live" else sign)
        if entries:
            parts.append(b",")
            position += 1
        parts.append(encoded)
        entries.append(
            IndexEntry(
                position,
                position + len(encoded),
                rule.published_at,
                rule.source,
                rule.category,
                rule.severity,
            )
        )
        position += len(encoded)
    etag = served.etag(len(entries), "" if name == "live" else f"{name}/{ring}")
    meta = served.meta(name, len(entries), etag)
    parts.append(b'],"meta":' + json.dumps(meta, separators=(",", ":")).encode("ascii"))
    return Representation(PreparedBody.prepare(b"".join(parts)), tuple(entries), etag)


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


def closing(request_id: str) -> bytes:
    """Return the last bytes of a prepared body, which name the request."""
    return b',"request_id":"' + request_id.encode("ascii") + b'"}'
