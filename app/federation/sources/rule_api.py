"""Kinds `live` and `atr-rules`: the rules of another Threat Cloud, from the public one or another instance.

Both routes answer the same envelope, which is read strictly. `live` is Partner Live Sync (its contract is
docs/partner-live-sync.md): a 200 is the whole set. `atr-rules` is the incremental endpoint that agents use, for a
server where there is no partner key to have. Another instance answers it with an ETag, so the whole set is asked
for each time and mostly is "not modified". The public server gives no ETag; it is asked for what is new, and for
the whole set once a day, because there an edited or deleted rule shows in no answer with `since` (measured: it
compares the time of creation).

`Replay...`: an answer older than one seen before comes from a cache or an attacker in between. None of this proves
anything against an attacker who can write answers; it catches those who can only repeat them.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

import httpx
import msgspec
from msgspec.structs import replace

from app.federation.sources.collected import Collected, Memory, SetAside, Source, SourceError
from app.federation.sources.http import Answer, Exchange, read_json, same_etag
from app.federation.sources.spool import MAX_ITEMS, Spool
from app.federation.upstream import AtrRulesUpstream, LiveUpstream
from app.http.problem import quoted
from app.http.timestamps import from_http_date, from_text, to_text

LIVE_PATH = "/api/atr-rules/live"
ATR_RULES_PATH = "/api/atr-rules"
WHOLE_EVERY = timedelta(hours=24)
OVERLAP = timedelta(hours=48)
"""Taken off `since`: the public server compares it as text, which hides everything of the same day (measured)."""
MAX_NAME_CHARS = 256
CANARY = "atr-canary"


def collect_live(upstream: LiveUpstream, memory: Memory, spool: str, exchange: Exchange) -> Collected:
    """Ask with the ETag of the last answer; a 200 is the whole set, authoritative.

    Raises `SourceError` and `OSError`.
    """
    answer = exchange.get_json(served_at(upstream.url, LIVE_PATH), etag=memory.etag)
    return take_answer(answer, memory, spool, exchange)


def collect_atr_rules(
    upstream: AtrRulesUpstream, memory: Memory, spool: str, exchange: Exchange
) -> Collected:
    """Ask for YAML texts: another instance would send JSON ones to an agent, the public server has only one form.

    Raises `SourceError` and `OSError`.
    """
    query = {"format": "yaml"}
    since = _since(memory, exchange.now)
    if since:
        query["since"] = since
    url = f"{served_at(upstream.url, ATR_RULES_PATH)}?{urlencode(query)}"
    answer = exchange.get_json(url, etag=memory.etag)
    return take_answer(answer, memory, spool, exchange, is_whole=not since)


def _since(memory: Memory, now: datetime) -> str:
    """Return the instant to ask from; "" when the whole set is due."""
    if memory.etag or not memory.newest or not memory.full_at:
        return ""
    if now - from_text(memory.full_at) >= WHOLE_EVERY:
        return ""
    return to_text(from_text(memory.newest) - OVERLAP)


def served_at(url: str, path: str) -> str:
    """Return the address of a route, for a configured address with or without that route."""
    base = url.rstrip("/")
    return base if base.endswith(path) else base + path


def take_answer(
    answer: Answer, memory: Memory, spool: str, exchange: Exchange, *, is_whole: bool = True
) -> Collected:
    """Check an answer and write its rules to the spool.

    `is_whole` is False when it holds only what is new. Raises `SourceError` and `OSError`.
    """
    serial = fresh_serial(answer.headers, memory, exchange.now) or memory.serial
    if answer.body is None:
        return Collected("unchanged", label=memory.label, memory=replace(memory, serial=serial))
    listed = read_rule_list(answer)
    check_instants(listed.published, listed.newest, answer.headers.get("date", ""), memory)
    with Spool(spool, exchange.max_bytes) as file:
        for rule in listed.rules:
            file.add(rule.name, rule.text.encode(), source=rule.source, published_at=rule.published_at)
    known = memory.published.items() if not is_whole else ()
    kept = {name: instant for name, instant in known if name not in listed.withdrawn}
    remembered = Memory(
        label=_label(answer, serial, listed.newest) or memory.label,
        etag=answer.etag if is_whole else "",
        date=answer.headers.get("date", ""),
        newest=listed.newest if is_whole else max(listed.newest, memory.newest),
        serial=serial,
        full_at=to_text(exchange.now) if is_whole else memory.full_at,
        published=kept | listed.published,
    )
    is_news = is_whole or bool(listed.rules or listed.set_aside or listed.withdrawn)
    return Collected(
        "changed" if is_news else "unchanged",
        label=remembered.label,
        items=file.items,
        set_aside=listed.set_aside,
        memory=remembered,
        is_partial=not is_whole,
        withdrawn=() if is_whole else listed.withdrawn,
    )


def _label(answer: Answer, serial: int, newest: str) -> str:
    """Return the serial of another instance, else the ETag without its quotes, else the newest instant."""
    if serial:
        return f"serial {serial}"
    return answer.etag.removeprefix("W/").strip('"')[:64] or newest


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
    """The content of an answer."""

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
    envelope = read_json(answer.body or b"", _Envelope)
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
        rule = read_json(raw, _Rule)
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
    """Return an instant in our spelling; "" for one that cannot be read."""
    try:
        return to_text(from_text(text[:64]))
    except (ValueError, OverflowError):
        return ""


HEADER = "Threatcloud-Freshness"


class _Claims(msgspec.Struct, frozen=True):
    serial: int
    exp: float


def fresh_serial(headers: httpx.Headers, memory: Memory, now: datetime) -> int:
    """Return the serial of the freshness token beside a 200 or 304 of another instance; 0 without a token.

    Its signature is not verified, since the key is not known here: it guards against caches that hand out old
    answers. Raises `SourceError` replayed when the token has expired or its serial is lower than one seen before,
    and mixed-up when it is no token.
    """
    token = headers.get(HEADER, "")
    if not token:
        return 0
    try:
        payload = token.split(".")[1]
        claims = read_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), _Claims)
    except (IndexError, ValueError, binascii.Error, SourceError):
        raise SourceError("mixed-up", f"The header {HEADER} holds no token.") from None
    if claims.exp < now.timestamp():
        raise SourceError(
            "replayed",
            "The freshness token of the answer has expired: a cache hands out old answers, or a clock is wrong.",
        )
    if claims.serial < memory.serial:
        raise SourceError(
            "replayed", f"The answer is of serial {claims.serial}; serial {memory.serial} was seen before."
        )
    return claims.serial


def check_instants(published: Mapping[str, str], newest: str, date_header: str, memory: Memory) -> None:
    """Raise `SourceError` replayed when the rules are older than they were.

    Instants of a rule only grow: an edited rule gets a new one, and the public server gives all of them a new one
    at each restart. So one rule with an older instant shows an older answer. An answer whose newest instant is older
    than before may be right, when the newest rule was deleted; then its `Date` is newer than the last one. With an
    older `Date` it is an older answer.
    """
    for name in published.keys() & memory.published.keys():
        if published[name] < memory.published[name]:
            raise SourceError("replayed", f"The rule {quoted(name)} is older than the one seen before.")
    if newest < memory.newest:
        date, before = from_http_date(date_header), from_http_date(memory.date)
        if date is not None and before is not None and date < before:
            raise SourceError("replayed", "The whole answer is older than the one seen before.")
