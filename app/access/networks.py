"""Addresses: which one a request came from, which networks it belongs to, what counts as one source."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LONGEST_ADDRESS = 64
"""The longest IPv6 text with brackets and port is shorter; a longer hop is junk and is not even parsed."""


@dataclass(frozen=True, slots=True)
class Networks:
    """A set of CIDR networks, parsed once."""

    ranges: tuple[tuple[int, int, int], ...]
    """IP version, network and mask, the latter two as numbers."""

    @classmethod
    def parse(cls, cidrs: Iterable[str]) -> Self:
        """Read `10.0.0.0/8`, `2001:db8::/32` or a single address; raises `ValueError` naming the bad one."""
        ranges = []
        for cidr in cidrs:
            try:
                network = ipaddress.ip_network(cidr.strip())
            except ValueError as error:
                raise ValueError(f"{cidr!r} is not a network such as 10.0.0.0/8: {error}") from error
            ranges.append((network.version, int(network.network_address), int(network.netmask)))
        return cls(tuple(ranges))

    def contains(self, address: str) -> bool:
        """Return whether `address` lies in one of the networks; False for what is no IP address."""
        parsed = parse_address(address)
        if parsed is None:
            return False
        version, number = parsed.version, int(parsed)
        return any(v == version and number & mask == network for v, network, mask in self.ranges)


def client_address(peer: str, x_forwarded_for: str | None, trusted: Networks) -> str:
    """Return the address that a request is accounted to.

    `peer` is the socket's; `x_forwarded_for` all values of that header in order, joined by commas. Hops are
    read from the right and only as long as the one that reported them is a trusted proxy, so a client cannot
    write its own address. A hop that is no address ends the walk at the proxy that reported it. Never raises;
    a peer that is no IP address (a unix socket) comes back as it is.
    """
    address = _normal(peer)
    rest = x_forwarded_for
    while rest and trusted.contains(address):
        rest, _, hop = rest.rpartition(",")
        parsed = parse_address(hop.strip(" \t"))
        if parsed is None:
            break
        address = str(parsed)
    return address


@lru_cache(maxsize=8192)
def source_of(address: str) -> str:
    """Return the unit of independence: an IPv4 address by itself, an IPv6 address as its /64.

    One host commands a whole /64 (RFC 4862, RFC 8981), so its addresses there are not several sources.
    """
    parsed = parse_address(address)
    if parsed is None or parsed.version == 4:
        return str(parsed or address)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _normal(text: str) -> str:
    parsed = parse_address(text)
    return text if parsed is None else str(parsed)


@lru_cache(maxsize=8192)
def parse_address(text: str) -> Address | None:
    """Read an address as proxies write it: with or without port, brackets or zone; IPv4-mapped IPv6 as IPv4.

    Return None for a text that is no address.
    """
    if len(text) > LONGEST_ADDRESS:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
