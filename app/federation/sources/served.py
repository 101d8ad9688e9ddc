"""What the kinds `live` and `atr-rules` share: they read the same envelope from another Threat Cloud."""

from msgspec.structs import replace

from app.federation.sources.collected import Collected, Memory
from app.federation.sources.http import Answer, Exchange
from app.federation.sources.replay import check_instants, fresh_serial
from app.federation.sources.rule_list import read_rule_list
from app.federation.sources.spool import Spool
from app.http.timestamps import to_text


def served_at(url: str, path: str) -> str:
    """The address of a route, for a configured address with or without that route."""
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
    check_instants(listed, answer.headers, memory)
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
    """The serial of another instance, else the ETag without its quotes, else the newest instant."""
    if serial:
        return f"serial {serial}"
    return answer.etag.removeprefix("W/").strip('"')[:64] or newest
