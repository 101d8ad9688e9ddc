"""The IP and domain feeds: one value a line, and comments for people behind `#`. Pure.

Stock Guards use lines of digits and dots only, so they pass over the comments and IPv6 (measured).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from app.intel.indicators.model import IndicatorKind
from app.intel.indicators.store import Indicator

MIN_REPUTATION = 70
"""The public server's own default; higher is worse."""


@dataclass(frozen=True, slots=True)
class FeedQuery:
    """What a client asks of a feed; `category` is None for all categories."""

    kind: IndicatorKind
    min_reputation: int = MIN_REPUTATION
    category: str | None = None


def render_feed(listed: Iterable[Indicator], query: FeedQuery) -> bytes:
    """Return the whole text; addresses in numerical order, IPv4 first, domains in alphabetical order."""
    values = {
        entry.value
        for entry in listed
        if entry.kind == query.kind
        and entry.reputation >= query.min_reputation
        and query.category in (None, entry.category)
    }
    heading = [
        f"# threatcloud {query.kind}-blocklist",
        f"# entries: {len(values)}",
        f"# min reputation: {query.min_reputation} of 100, higher is worse",
        f"# category: {query.category or 'any'}",
    ]
    ordered = sorted(values, key=_numerically) if query.kind == "ip" else sorted(values)
    return "".join(f"{line}\n" for line in [*heading, *ordered]).encode("ascii", "replace")


def _numerically(value: str) -> tuple[int, int]:
    address = ip_address(value)
    return address.version, int(address)
