"""What each version of the stock Guard does, in one table: the URLs it accepts, its enrolment, the rules it loads.

Measured by running the threat-cloud code of the tags named in each row (Node 20, with the CA in place), and read off
the versions from 1.4.5 to 1.9.0. The row of a version that was not run is the one before it. An unknown version is
treated as the newest, whose way, a name that means the host itself, works with every version.

`app.rules.guard_form.guard_text` serves only what the newest version loads, so what remains here of rule loading are
the heuristics of the versions in between, the cap, and rules that are loaded and never fire.
"""

import ipaddress
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from app.rules.errors import GuardRefusal, RuleTextError
from app.rules.guard_form import guard_text
from app.rules.rule import as_mapping
from app.rules.yaml_text import parse_mapping

CAP = 500
"""Rules from the network that a Guard keeps, from 1.5.5 on; those that it brings along do not count."""

_REPEATED_GROUP = re.compile(r"\([^)]*[+*]\)[+*{]")
_DORMANT_STATUSES = {"draft", "deprecated"}


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
class Generation:
    """Versions that load rules alike.

    `is_signed`: only with a signature that verifies. `is_gated_by_text`: it drops a rule over a pattern with a group
    that ends in a repetition and is repeated itself, be it only twice. `reads_maturity`: it does not fire a rule of
    deprecated maturity, as all do not fire one whose status is draft or deprecated.
    """

    versions: str
    is_capped: bool
    is_signed: bool
    is_gated_by_text: bool
    reads_maturity: bool


GENERATIONS = _UNCAPPED, _CAPPED, _GATED, _NEWEST = (
    Generation(
        "1.4.6 and older", is_capped=False, is_signed=False, is_gated_by_text=False, reads_maturity=False
    ),
    Generation(
        "1.5.5 to 1.6.1", is_capped=True, is_signed=False, is_gated_by_text=False, reads_maturity=False
    ),
    Generation("1.7.0 to 1.8.0", is_capped=True, is_signed=True, is_gated_by_text=True, reads_maturity=True),
    Generation("1.8.2 to 1.9.0", is_capped=True, is_signed=True, is_gated_by_text=False, reads_maturity=True),
)
"""Oldest first; each row of `TABLE` names the one it belongs to."""


@dataclass(frozen=True, slots=True)
class GuardVersions:
    """What the versions from `first` on, up to the next row, have in common.

    `consent` says what `threatCloudUploadEnabled: true` is needed for; `sealed` whether threat events are encrypted
    to the maker; `notices_edits` whether an edited configuration is reported as `INTEGRITY: TAMPERED`; `unit` whether
    `install` makes a system unit or one of the user; `loading` which rules are loaded.
    """

    first: tuple[int, int, int]
    label: str
    measured: tuple[str, ...]
    accepts: frozenset[Place]
    registers: Registers
    consent: Literal["nothing", "uploads", "everything"]
    rules_fetched: str
    loading: Generation
    sealed: bool
    notices_edits: bool
    unit: Literal["system", "user"]

    @property
    def signed(self) -> bool:
        """True when rules need a signature, the public key and `threatCloudRuleSyncEnabled: true`."""
        return self.loading.is_signed


TABLE = (
    GuardVersions(
        first=(0, 0, 0), label="1.4.5 and older", measured=("1.4.5",), accepts=frozenset(Place),
        registers="never", consent="nothing", rules_fetched="every hour",
        loading=_UNCAPPED, sealed=False, notices_edits=False, unit="system",
    ),
    GuardVersions(
        first=(1, 4, 6), label="1.4.6 to 1.5.4", measured=("1.4.6",), accepts=_NO_HTTP,
        registers="never", consent="nothing", rules_fetched="every 5 minutes",
        loading=_UNCAPPED, sealed=False, notices_edits=False, unit="system",
    ),
    GuardVersions(
        first=(1, 5, 5), label="1.5.5 to 1.6.1", measured=("1.5.6", "1.6.1"), accepts=_NO_HTTP,
        registers="anywhere", consent="nothing", rules_fetched="every 5 minutes; 1.6: once per start",
        loading=_CAPPED, sealed=False, notices_edits=False, unit="system",
    ),
    GuardVersions(
        first=(1, 7, 0), label="1.7.0 to 1.7.3", measured=("1.7.3",), accepts=_NO_HTTP,
        registers="https, not at a private address", consent="uploads", rules_fetched="once per start",
        loading=_GATED, sealed=False, notices_edits=True, unit="user",
    ),
    GuardVersions(
        first=(1, 8, 0), label="1.8.0", measured=("1.8.0",), accepts=_NO_HTTP,
        registers="https, not at a private address", consent="uploads", rules_fetched="once per start",
        loading=_GATED, sealed=True, notices_edits=True, unit="user",
    ),
    GuardVersions(
        first=(1, 8, 1), label="1.8.2", measured=("1.8.2",), accepts=_HTTPS_NAMES,
        registers="https, not at a private address", consent="everything", rules_fetched="once per start",
        loading=_NEWEST, sealed=True, notices_edits=True, unit="user",
    ),
    GuardVersions(
        first=(1, 8, 3), label="1.8.3 to 1.9.0", measured=("1.8.3", "1.9.0"),
        accepts=_HTTPS_NAMES - {Place.HTTPS_PRIVATE_NAME},
        registers="https, not at a private address", consent="everything", rules_fetched="once per start",
        loading=_NEWEST, sealed=True, notices_edits=True, unit="user",
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
    """Return the row of a version such as `1.8.3` or `v1.9.0`, and a note when that was not run itself.

    Never raises: an unknown version gets the newest row.
    """
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
    """Return where a URL leads. A name is taken to have a private address, as one inside a company has.

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


class GuardReading(msgspec.Struct, frozen=True, rename="camel"):
    """How the generations treat one rule.

    `refusal` says why it is served to none of them. Otherwise `dropped` and `silent` say, in the order of
    `GENERATIONS`, why one does not load it, and why one that loads it never fires it; None is no objection.
    """

    rule_id: str
    refusal: str | None
    dropped: tuple[str | None, ...] = ()
    silent: tuple[str | None, ...] = ()


def read_written(text: str) -> GuardReading:
    """Return how the generations would treat a rule as its author wrote it (runs in a sandbox)."""
    try:
        doc = parse_mapping(text)
    except RuleTextError as error:
        return GuardReading("", f"it is no rule: {error.field}: {error.reason}")
    rule_id = str(doc.get("id", ""))
    try:
        return read_served(rule_id, guard_text(doc))
    except GuardRefusal as refused:
        return GuardReading(rule_id, refused.reason)


def read_served(rule_id: str, text: str) -> GuardReading:
    """Return how the generations treat a `ruleContent` of the `guard` representation."""
    rule = json.loads(text)
    return GuardReading(
        rule_id,
        None,
        tuple(_drops(generation, rule) for generation in GENERATIONS),
        tuple(_silences(generation, rule) for generation in GENERATIONS),
    )


def _drops(generation: Generation, rule: dict[str, object]) -> str | None:
    if not generation.is_gated_by_text:
        return None
    conditions = as_mapping(rule["detection"])["conditions"]
    for index, item in enumerate(conditions if isinstance(conditions, list) else ()):
        if item.get("operator") == "regex" and (found := _REPEATED_GROUP.search(item["value"])):
            return (
                f"condition {index}: it takes ...{found[0][-16:]} for an endless repetition of a repetition"
            )
    return None


def _silences(generation: Generation, rule: dict[str, object]) -> str | None:
    if rule.get("status") in _DORMANT_STATUSES:
        return f"its status is {rule['status']}"
    if generation.reads_maturity and rule.get("maturity") == "deprecated":
        return "its maturity is deprecated"
    return None


class GuardSummary(msgspec.Struct, frozen=True, rename="camel"):
    """How one generation treats the rules served to it: how many it `loads`, and by rule id why not the others.

    `over_cap` are the ids that come after the ones it takes; `silent` are among those that load. What a Guard brings
    along itself is not known here: it skips such an id, and the id does not count for the cap.
    """

    versions: str
    is_signed: bool
    loads: int
    dropped: dict[str, str]
    over_cap: list[str]
    silent: dict[str, str]


def summaries(readings: Iterable[GuardReading], *, with_cap: bool) -> list[GuardSummary]:
    """Summarise how each generation treats rules; refused ones are left out.

    `with_cap` says that the rules come in the order in which they are served, so that the cap applies.
    """
    served = [reading for reading in readings if reading.refusal is None]
    return [
        _summary(place, generation, served, CAP if with_cap and generation.is_capped else len(served))
        for place, generation in enumerate(GENERATIONS)
    ]


def _summary(place: int, generation: Generation, served: list[GuardReading], cap: int) -> GuardSummary:
    dropped = {r.rule_id: reason for r in served if (reason := r.dropped[place]) is not None}
    loadable = [reading for reading in served if reading.rule_id not in dropped]
    silent = {r.rule_id: reason for r in loadable[:cap] if (reason := r.silent[place]) is not None}
    over_cap = [reading.rule_id for reading in loadable[cap:]]
    return GuardSummary(
        generation.versions, generation.is_signed, len(loadable[:cap]), dropped, over_cap, silent
    )
