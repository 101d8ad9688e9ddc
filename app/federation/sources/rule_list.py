"""The answer of `/api/atr-rules/live` and `/api/atr-rules`: an envelope with rules, read strictly (seed 001)."""

from dataclasses import dataclass

import msgspec

from app.federation.sources.collected import SetAside, Source, SourceError
from app.federation.sources.http import Answer, same_etag
from app.federation.sources.json_body import decode
from app.federation.sources.spool import MAX_ITEMS
from app.http.problem import quoted
from app.http.timestamps import from_text, to_text

MAX_NAME_CHARS = 256
CANARY = "atr-canary"


class _Rule(msgspec.Struct, frozen=True, rename="camel"):
    rule_id: str
    rule_content: str
    published_at: msgspec.Raw = msgspec.Raw(b'""')
    source: msgspec.Raw = msgspec.Raw(b'""')


class _Meta(msgspec.Struct, frozen=True):
    total: int
    etag: str | None = None
    withdrawn: tuple[str, ...] = ()


class _Envelope(msgspec.Struct, frozen=True):
    ok: bool
    data: list[msgspec.Raw]
    meta: _Meta


@dataclass(frozen=True, slots=True)
class ListedRule:
    """One rule of an answer; `published_at` as `to_text` writes it, or "" when it says none."""

    name: str
    text: str
    source: Source
    published_at: str


@dataclass(frozen=True, slots=True)
class RuleList:
    """All that an answer says."""

    rules: tuple[ListedRule, ...]
    set_aside: tuple[SetAside, ...]
    withdrawn: tuple[str, ...]

    @property
    def newest(self) -> str:
        """The newest instant in it."""
        return max((rule.published_at for rule in self.rules), default="")

    @property
    def published(self) -> dict[str, str]:
        """`name -> published_at` for the rules that say when."""
        return {rule.name: rule.published_at for rule in self.rules if rule.published_at}


def read_rule_list(answer: Answer) -> RuleList:
    """Read a 200; one bad entry is set aside, only bad entries are a wrong shape.

    Raises `SourceError` not-json, shape, too-large or mixed-up.
    """
    envelope = decode(answer.body or b"", _Envelope)
    if not envelope.ok:
        raise SourceError("shape", "The answer says that it is not ok.")
    if len(envelope.data) > MAX_ITEMS:
        raise SourceError("too-large", f"There are more than {MAX_ITEMS} rules.")
    if envelope.meta.total != len(envelope.data):
        raise SourceError("mixed-up", "The number of rules is not the one that the answer itself states.")
    if envelope.meta.etag and answer.etag and not same_etag(envelope.meta.etag, answer.etag):
        raise SourceError("mixed-up", "The ETag in the answer is not the one in its header.")
    rules: list[ListedRule] = []
    set_aside: list[SetAside] = []
    for number, raw in enumerate(envelope.data, 1):
        entry = _entry(number, raw)
        if isinstance(entry, SetAside):
            set_aside.append(entry)
        else:
            rules.append(entry)
    if set_aside and not rules:
        raise SourceError("shape", f"No entry of the answer is a rule; the first: {set_aside[0].reason}.")
    return RuleList(tuple(rules), tuple(set_aside), envelope.meta.withdrawn)


def _entry(number: int, raw: msgspec.Raw) -> ListedRule | SetAside:
    try:
        rule = decode(raw, _Rule)
    except SourceError as error:
        return SetAside(f"entry {number}", error.failure.message.rstrip("."))
    if not 1 <= len(rule.rule_id) <= MAX_NAME_CHARS or not rule.rule_id.isprintable():
        return SetAside(
            f"entry {number}", f"the ruleId {quoted(rule.rule_id)} is empty, too long or unprintable"
        )
    source = _text(rule.source)
    if source == CANARY:
        return SetAside(rule.rule_id, "it is still in canary upstream")
    return ListedRule(
        rule.rule_id,
        rule.rule_content,
        "atr-community" if source == "atr-community" else "atr",
        _instant(_text(rule.published_at)),
    )


def _text(raw: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _instant(text: str) -> str:
    """An instant that cannot be read says nothing."""
    try:
        return to_text(from_text(text[:64]))
    except (ValueError, OverflowError):
        return ""
