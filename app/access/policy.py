"""The owner's decisions about access: the `[access]` and `[limits]` sections of the configuration."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from app.access.networks import Networks

AccessMode = Literal["closed", "networks", "open"]
Cidr = Annotated[str, Meta(min_length=2, max_length=64)]
Origin = Annotated[
    str, Meta(max_length=256, pattern=r"^https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?\Z")
]
"""As browsers write it (RFC 6454 6.2): scheme, host in lower case, a port that is not the scheme's own; no `*`."""
PerMinute = Annotated[int, Meta(ge=1, le=1_000_000)]


class AccessPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may enter without a key from an administrator, and whose word on addresses is trusted.

    Raises `ValueError` (msgspec's `ValidationError` when read from a file) for an entry that is no network.
    """

    registration: AccessMode = "networks"
    """Who may register itself as an agent: nobody (`closed`: an admin issues every key), addresses in
    `networks`, or everybody who can connect (`open`)."""

    anonymous_read: AccessMode = "closed"
    """Who may read rules without a key: nobody, addresses in `networks`, or everybody who can connect."""

    anonymous_report: AccessMode = "networks"
    """Who may send reports without a key, as several stock tools do, and read counts and badges: nobody, addresses
    in `networks`, or everybody who can connect. Such reports are kept, and never count as an identity anywhere."""

    networks: Annotated[tuple[Cidr, ...], Meta(max_length=1000)] = ("127.0.0.0/8", "::1/128")
    """The networks (CIDR) that `registration`, `anonymous_read` and `anonymous_report` mean by `networks`."""

    cors_origins: Annotated[tuple[Origin, ...], Meta(max_length=100)] = ()
    """Origins of web pages, such as `https://console.example`, whose scripts may read the answers."""

    trusted_proxies: Annotated[tuple[Cidr, ...], Meta(max_length=1000)] = ()
    """The networks (CIDR) of reverse proxies whose `X-Forwarded-For` is believed; nobody else's is."""

    metrics_networks: Annotated[tuple[Cidr, ...], Meta(max_length=1000)] = ("127.0.0.0/8", "::1/128")
    """The networks (CIDR) of Prometheus servers that may read `/metrics` without a key; others need the key of a
    reviewer or admin. What a proxy that is not trusted passes on always needs one."""

    registrations_per_hour: Annotated[int, Meta(ge=1, le=100_000)] = 60
    """How many agents may register themselves per hour from one source (IPv4 address or IPv6 /64)."""

    def __post_init__(self) -> None:
        Networks.parse(self.networks)
        Networks.parse(self.trusted_proxies)
        Networks.parse(self.metrics_networks)


class LimitPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many requests are too many."""

    agent_per_minute: PerMinute = 600
    """Requests per minute for each agent key."""

    partner_per_minute: PerMinute = 120
    """Requests per minute for each partner key."""

    reviewer_per_minute: PerMinute = 600
    """Requests per minute for each reviewer key."""

    admin_per_minute: PerMinute = 1200
    """Requests per minute for each admin key."""

    anonymous_per_minute: PerMinute = 120
    """Requests per minute without a key, for each source (IPv4 address or IPv6 /64)."""

    failed_per_minute: PerMinute = 60
    """Refused keys per minute for each source; beyond it the answer is 429. A valid key is never refused
    because of the others behind its address."""

    live_burst: Annotated[int, Meta(ge=1, le=10_000)] = 2
    """Full answers of the live endpoint that a key may fetch at once; a 304 costs nothing."""

    live_refill_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 60
    """Seconds until a key may fetch one more full answer of the live endpoint."""
