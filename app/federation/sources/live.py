"""Kind `live`: Partner Live Sync of the public Threat Cloud or of another instance (seed 001)."""

from app.federation.sources.collected import Collected, Memory
from app.federation.sources.http import Exchange
from app.federation.sources.served import served_at, take_answer
from app.federation.upstream import LiveUpstream

PATH = "/api/atr-rules/live"


def collect_live(upstream: LiveUpstream, memory: Memory, spool: str, exchange: Exchange) -> Collected:
    """Ask with the ETag of the last answer; a 200 is the whole set, authoritative.

    Raises `SourceError` and `OSError`.
    """
    answer = exchange.get_json(served_at(upstream.url, PATH), etag=memory.etag)
    return take_answer(answer, memory, spool, exchange)
