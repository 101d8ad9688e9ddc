"""Kind `atr-rules`: the incremental endpoint that agents use, for a server where there is no partner key to have.

Another instance answers it with an ETag, so the whole set is asked for each time and mostly is "not modified". The
public server gives no ETag; it is asked for what is new, and for the whole set once a day, because there an edited
or deleted rule shows in no answer with `since` (measured: it compares the time of creation).
"""

from datetime import datetime, timedelta
from urllib.parse import urlencode

from app.federation.sources.collected import Collected, Memory
from app.federation.sources.http import Exchange
from app.federation.sources.served import served_at, take_answer
from app.federation.upstream import AtrRulesUpstream
from app.http.timestamps import from_text, to_text

PATH = "/api/atr-rules"
WHOLE_EVERY = timedelta(hours=24)
OVERLAP = timedelta(hours=48)
"""Taken off `since`: the public server compares it as text, which hides everything of the same day (measured)."""


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
    url = f"{served_at(upstream.url, PATH)}?{urlencode(query)}"
    answer = exchange.get_json(url, etag=memory.etag)
    return take_answer(answer, memory, spool, exchange, is_whole=not since)


def _since(memory: Memory, now: datetime) -> str:
    """The instant to ask from; "" when the whole set is due."""
    if memory.etag or not memory.newest or not memory.full_at:
        return ""
    if now - from_text(memory.full_at) >= WHOLE_EVERY:
        return ""
    return to_text(from_text(memory.newest) - OVERLAP)
