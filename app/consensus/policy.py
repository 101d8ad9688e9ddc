"""`[consensus]` of the configuration file: how many independent scanners make a rule, and who is independent."""

from ipaddress import ip_network
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Class = Literal["admin", "self"]
"""How an identity came to its key: an admin issued it, or it registered itself."""

Mode = Literal["none", "address", "site", "each"]
"""How many identities of a class count: none, one per source address, one per site label, or each."""


class ConsensusPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The company's own terms for promotion; the defaults are the public server's promise, kept honestly."""

    threshold: Annotated[int, Meta(ge=1, le=1000)] = 3
    """Independent confirmations that promote a proposal; the submitter's own vote is the first of them."""

    content_quorum: Annotated[int, Meta(ge=1, le=1000)] = 2
    """How many of them must have sent the same detection; below that a reviewer chooses. At most `threshold`."""

    admin_issued: Literal["each", "address", "site"] = "each"
    """How identities whose key an admin issued count."""

    self_registered: Literal["none", "address", "site", "each"] = "address"
    """How identities that registered themselves count; `each` lets one compromised host confirm alone."""

    nat_networks: tuple[str, ...] = ()
    """Networks (CIDR) behind which many hosts share an address: a shared source in them is no sign of one host."""

    quality: Literal["standard", "strict"] = "standard"
    """What the gate asks of a rule; `strict` also asks three true positives and three true negatives, as upstream."""

    canary_hours: Annotated[int, Meta(ge=0, le=8760)] = 0
    """Hours during which only the canary slice of agents gets a new rule; 0 promotes at once."""

    canary_percent: Annotated[int, Meta(ge=1, le=100)] = 10
    """Share of the agents that get canary rules."""

    quarantine_votes: Annotated[int, Meta(ge=1, le=1000)] = 3
    """Independent false-positive reports that take a community rule out of service."""

    cycle_seconds: Annotated[int, Meta(ge=5, le=86400)] = 120
    """How often confirmed proposals are promoted."""

    def mode_of(self, enrolled: str) -> Mode:
        """How identities enrolled this way (`admin` or `self`) count; anything unknown counts as self-registered."""
        return self.admin_issued if enrolled == "admin" else self.self_registered

    def errors(self) -> list[str]:
        """Return what contradicts itself here, one sentence each that names the field; empty when all is well."""
        found = []
        if self.content_quorum > self.threshold:
            found.append(
                f"content_quorum ({self.content_quorum}) is larger than threshold ({self.threshold}): "
                f"no text could ever reach it; lower content_quorum or raise threshold"
            )
        for network in self.nat_networks:
            try:
                ip_network(network)
            except ValueError as error:
                found.append(f"nat_networks: {error}; write it like 203.0.113.0/24")
        return found
