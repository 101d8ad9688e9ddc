"""The IP and domain feeds: one value a line, `#` in front of what is meant for people. Pure.

Stock Guards use lines of digits and dots only, so they pass over the comments and IPv6 (measured).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from app.intel.indicators.model import Kind
from app.intel.indicators.store import Indicator

MIN_REPUTATION = 70
"""The public server's own default; higher is worse."""


@dataclass(frozen=True, slots=True)
class FeedTerms:
    """What a client asks of a feed; `category` None for every one."""

    kind: Kind
    min_reputation: int = MIN_REPUTATION
    category: str | None = None


def feed(listed: Iterable[Indicator], terms: FeedTerms) -> bytes:
    """The whole text; addresses in numerical order, IPv4 first, domains in alphabetical order."""
    values = {
        entry.value
        for entry in listed
        if entry.kind == terms.kind
        and entry.reputation >= terms.min_reputation
        and terms.category in (None, entry.category)
    }
    heading = [
        f"# threatcloud {terms.kind}-blocklist",
        f"# entries: {len(values)}",
        f"# min reputation: {terms.min_reputation} of 100, higher is worse",
        f"# category: {terms.category or 'any'}",
    ]
    ordered = sorted(values, key=_numerically) if terms.kind == "ip" else sorted(values)
    return "".join(f"{line}\n" for line in [*heading, *ordered]).encode("ascii", "replace")


def _numerically(value: str) -> tuple[int, int]:
    address = ip_address(value)
    return address.version, int(address)
