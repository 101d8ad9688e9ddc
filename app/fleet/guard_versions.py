"""Which URL a stock Guard accepts, by its version, and how a host of that version is therefore pointed at us.

Measured by running the threat-cloud code of the tags named in each row (Node 20, with the CA in place). The row of
a version that was not run is the one before it; what nobody here knows is treated as the newest, whose way, a name
that means the host itself, works with every version.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from urllib.parse import urlsplit


class Place(StrEnum):
    """Where a URL leads, as far as Guards tell places apart; `private` is what `DENIED` covers."""

    HTTP = "http to anything but the host itself"
    HTTP_LOOPBACK = "http://127.0.0.1"
    HTTPS_PRIVATE_ADDRESS = "https to a private address"
    HTTPS_PRIVATE_NAME = "https to a name with a private address"
    HTTPS_LOOPBACK_NAME = "https to a name for 127.0.0.1"
    HTTPS_OTHER = "https to another address"


Registers = Literal["never", "anywhere", "https, not at a private address"]
"""Where a Guard without a key enrols itself; it never looks at what a name resolves to."""

_NO_HTTP = frozenset(Place) - {Place.HTTP}
_HTTPS_NAMES = frozenset({Place.HTTPS_PRIVATE_NAME, Place.HTTPS_LOOPBACK_NAME, Place.HTTPS_OTHER})


@dataclass(frozen=True, slots=True)
class GuardVersions:
    """What the versions from `first` on, up to the next row, have in common.

    `consent` says what `threatCloudUploadEnabled: true` is needed for; `signed` whether rules need a signature, the
    public key and `threatCloudRuleSyncEnabled: true`; `sealed` whether threat events are encrypted to the maker;
    `notices_edits` whether an edited configuration is reported as `INTEGRITY: TAMPERED`; `unit` whether `install`
    makes a system unit or one of the user.
    """

    first: tuple[int, int, int]
    label: str
    measured: tuple[str, ...]
    accepts: frozenset[Place]
    registers: Registers
    consent: Literal["nothing", "uploads", "everything"]
    rules_fetched: str
    signed: bool
    sealed: bool
    notices_edits: bool
    unit: Literal["system", "user"]


TABLE = (
    GuardVersions(
        first=(0, 0, 0), label="1.4.5 and older", measured=("1.4.5",), accepts=frozenset(Place),
        registers="never", consent="nothing", rules_fetched="every hour",
        signed=False, sealed=False, notices_edits=False, unit="system",
    ),
    GuardVersions(
        first=(1, 4, 6), label="1.4.6 to 1.5.4", measured=("1.4.6",), accepts=_NO_HTTP,
        registers="never", consent="nothing", rules_fetched="every 5 minutes",
        signed=False, sealed=False, notices_edits=False, unit="system",
    ),
    GuardVersions(
        first=(1, 5, 5), label="1.5.5 to 1.6.1", measured=("1.5.6", "1.6.1"), accepts=_NO_HTTP,
        registers="anywhere", consent="nothing", rules_fetched="every 5 minutes; 1.6: once per start",
        signed=False, sealed=False, notices_edits=False, unit="system",
    ),
    GuardVersions(
        first=(1, 7, 0), label="1.7.0 to 1.7.3", measured=("1.7.3",), accepts=_NO_HTTP,
        registers="https, not at a private address", consent="uploads", rules_fetched="once per start",
        signed=True, sealed=False, notices_edits=True, unit="user",
    ),
    GuardVersions(
        first=(1, 8, 0), label="1.8.0", measured=("1.8.0",), accepts=_NO_HTTP,
        registers="https, not at a private address", consent="uploads", rules_fetched="once per start",
        signed=True, sealed=True, notices_edits=True, unit="user",
    ),
    GuardVersions(
        first=(1, 8, 1), label="1.8.2", measured=("1.8.2",), accepts=_HTTPS_NAMES,
        registers="https, not at a private address", consent="everything", rules_fetched="once per start",
        signed=True, sealed=True, notices_edits=True, unit="user",
    ),
    GuardVersions(
        first=(1, 8, 3), label="1.8.3 to 1.9.0", measured=("1.8.3", "1.9.0"),
        accepts=_HTTPS_NAMES - {Place.HTTPS_PRIVATE_NAME},
        registers="https, not at a private address", consent="everything", rules_fetched="once per start",
        signed=True, sealed=True, notices_edits=True, unit="user",
    ),
)  # fmt: skip
"""Oldest first. 1.8.1 was never released; it counts with the stricter of its neighbours."""

NEWEST_KNOWN = (1, 9, 0)
SPRING_2026 = ((2, 0, 0), (2, 0, 3))
"""Packages numbered 2.0.0 to 2.0.3 are older than 1.5.5, and behave like 1.4.6."""

DENIED = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("0.0.0.0/8", "198.18.0.0/15", "::1/128", "::/128", "fc00::/7", "fe80::/16", "::ffff:0:0/96"),
    )
)
"""The addresses that Guards refuse, as they are written and (from 1.8.3) as a name resolves to them."""


def row_of(version: str) -> tuple[GuardVersions, str | None]:
    """The row of a version such as `1.8.3` or `v1.9.0`, and a note when that was not run itself. Never raises."""
    found = re.match(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?![\d.])", version.strip())
    newest = TABLE[-1]
    if found is None:
        return newest, f"{version!r} is no version that anybody here knows; treated as {newest.label}."
    number = (int(found[1]), int(found[2]), int(found[3]))
    if SPRING_2026[0] <= number <= SPRING_2026[1]:
        return TABLE[1], f"{version} is older than 1.5.5 in spite of its number; treated as {TABLE[1].label}."
    if number > NEWEST_KNOWN:
        return newest, f"{version} is newer than what was measured; treated as {newest.label}."
    row = [row for row in TABLE if row.first <= number][-1]
    if ".".join(found.groups()) in row.measured:
        return row, None
    return row, f"{version} was not run itself; measured were {' and '.join(row.measured)}."


def place_of(url: str) -> Place:
    """Where a URL leads. A name is taken to have a private address, as one inside a company has.

    Raises `ValueError` with a sentence for what cannot be an endpoint.
    """
    parts = urlsplit(url)
    try:
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if parts.scheme not in {"http", "https"} or not host or parts.username is not None:
        raise ValueError(f"{url!r} is no URL such as https://threatcloud.example:8443")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"{url!r}: a Guard adds the path by itself; give scheme, host and port only")
    if not re.fullmatch(r"[a-z0-9.:-]+", host):
        raise ValueError(f"{host!r} is no host name or address")
    address = _address(host)
    loopback = host == "localhost" or (address is not None and address.is_loopback)
    if parts.scheme == "http":
        return Place.HTTP_LOOPBACK if loopback else Place.HTTP
    if address is None:
        return Place.HTTPS_PRIVATE_ADDRESS if loopback else Place.HTTPS_PRIVATE_NAME
    denied = any(address in network for network in DENIED)
    return Place.HTTPS_PRIVATE_ADDRESS if denied else Place.HTTPS_OTHER


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
