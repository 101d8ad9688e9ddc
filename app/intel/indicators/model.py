"""Addresses and domains that a feed may list: which ones at all, and the aggregate of their sightings. Pure.

Decision 0014 says how an exact address can be listed although none is stored before three independent identities
have reported it.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Literal

from app.access.networks import Networks, parse_address
from app.consensus.policy import ConsensusPolicy
from app.consensus.votes import Voter, judge_independence

IndicatorKind = Literal["ip", "domain"]

CONFIRMATIONS = 3
"""Independent identities that must have reported an address before it is stored in clear, and listed."""

CONFIRMED_REPUTATION = 70
"""Of an address at `CONFIRMATIONS`; each further identity adds ten, up to 100. Higher is worse."""

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_SPECIAL = frozenset(
    {
        "alt",
        "arpa",
        "corp",
        "example",
        "home",
        "internal",
        "invalid",
        "lan",
        "local",
        "localhost",
        "onion",
        "test",
    }
)
"""Top-level names that mean nothing outside one network (RFC 6761, RFC 6762, RFC 8375, ICANN on `internal`)."""

_DOCUMENTATION = Networks.parse(
    ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
)
"""RFC 5737, RFC 3849, RFC 9637: Python counts them as private, and says so only from some releases on."""

_TUNNELS = Networks.parse(("64:ff9b::/96", "2002::/16", "2001::/32"))
"""IPv6 addresses that stand for an IPv4 address (RFC 6052, RFC 3056, RFC 4380), so perhaps for a private one."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One identity's report of an indicator."""

    voter: Voter
    category: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The aggregate of the sightings of one indicator: independent reporters and their category."""

    reporters: int
    category: str

    @property
    def is_confirmed(self) -> bool:
        """True when it may be stored in clear, and listed."""
        return self.reporters >= CONFIRMATIONS

    @property
    def reputation(self) -> int:
        """0 to 100, higher is worse."""
        return (
            min(100, CONFIRMED_REPUTATION + 10 * (self.reporters - CONFIRMATIONS)) if self.is_confirmed else 0
        )


@lru_cache(maxsize=8192)
def exact_address(text: str) -> str | None:
    """Return the one public address that `text` names, normalised; None for what a feed must never list.

    That is everything private, loopback, link-local, multicast, reserved or for documentation, everything that
    stands for another address, and every masked address: an IPv4 address that ends in 0, an IPv6 address whose
    lower 64 bits are zero.
    """
    parsed = parse_address(text.strip())
    if parsed is None or not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        return None
    address = str(parsed)
    if _DOCUMENTATION.contains(address) or _TUNNELS.contains(address):
        return None
    masked_bits = 64 if isinstance(parsed, IPv6Address) else 8
    return None if int(parsed) % (1 << masked_bits) == 0 else address


def public_domain(text: str) -> str | None:
    """Return a domain name as feeds list it: lower case, ASCII (IDNA), no final dot; None if it is not public."""
    try:
        name = text.strip().rstrip(".").lower().encode("idna").decode("ascii")
    except UnicodeError:
        return None
    labels = name.split(".")
    if len(name) > 253 or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    top = labels[-1]
    return None if top in _SPECIAL or not (top.isalpha() or top.startswith("xn--")) else name


def aggregate(sightings: Sequence[Sighting], policy: ConsensusPolicy) -> Aggregate:
    """Count the independent identities among sightings in order of time; the most frequent category is theirs."""
    verdicts = judge_independence([sighting.voter for sighting in sightings], policy)
    counted = [s.category for s, verdict in zip(sightings, verdicts, strict=True) if verdict.counted]
    categories = Counter(counted)
    best = min(categories, key=lambda name: (-categories[name], name)) if categories else ""
    return Aggregate(len(counted), best)
