"""The result of a source: everything it offers at one moment, nothing new, or a failure."""

from dataclasses import dataclass
from typing import Literal

import msgspec

Source = Literal["atr", "atr-community"]

FailureCode = Literal[
    "key",  # the key that the configuration names cannot be read
    "unreachable",
    "tls",
    "timeout",
    "status",  # an HTTP status that says neither yes nor "not modified"
    "unauthorized",  # 401 and 403
    "too-fast",  # 429
    "redirect",  # to another host, or too many
    "content-type",
    "too-large",
    "truncated",
    "not-json",
    "shape",  # JSON, but not what this kind of upstream answers
    "mixed-up",  # validators, totals or digests that contradict each other
    "replayed",  # older than what this upstream said before
    "integrity",  # a digest that upstream itself announced does not fit
    "signature",
    "gap",  # a bundle that does not follow what was imported last
    "rollback",  # a bundle older than what was imported last
    "not-found",
    "unreadable",
    "worker",  # the process that pulls died or took too long
]


class Failure(msgspec.Struct, frozen=True):
    """Why a pull brought nothing: a stable code, one sentence for people, and what upstream asked for.

    The sentence never holds a key, nor more than a few words of what upstream sent.
    """

    code: FailureCode
    message: str
    retry_after: float | None = None
    """Seconds to stay away, from `Retry-After`."""


class SourceError(Exception):
    """A source cannot be read; `failure` says why."""

    def __init__(self, code: FailureCode, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.failure = Failure(code, message, retry_after)

    @classmethod
    def of(cls, failure: Failure) -> "SourceError":
        """Return the error of a failure that was reported as a value."""
        return cls(failure.code, failure.message, failure.retry_after)


class Item(msgspec.Struct, frozen=True, array_like=True):
    """One rule text as it came, not yet inspected: its place in the spool, and its SHA-256 (hex)."""

    name: str
    """What upstream calls it: its `ruleId`, or the path of its file."""
    start: int
    size: int
    digest: str
    source: Source = "atr"
    published_at: str = ""
    """When upstream says that it published this text; empty when it does not say."""


class SetAside(msgspec.Struct, frozen=True):
    """One rule that is not taken, and why."""

    rule_id: str
    reason: str


class Memory(msgspec.Struct, frozen=True):
    """What a source remembers from one successful pull to the next; empty before the first.

    `settings` is a digest of the upstream's configuration. When it differs from the present one, validators are
    not sent, so that a changed filter or address is never answered by "not modified".
    """

    settings: str = ""
    label: str = ""
    etag: str = ""
    last_modified: str = ""
    date: str = ""
    """The `Date` of the last full answer, as it was sent."""
    newest: str = ""
    """The newest instant in it."""
    serial: int = 0
    """The serial of the last freshness token or bundle."""
    manifest: str = ""
    """SHA-256 (hex) of the publication manifest of the last bundle."""
    full_at: str = ""
    """When the whole set was last fetched, for a source that fetches parts in between."""
    fingerprint: str = ""
    """A digest by which a source sees that its files are the same as before."""
    published: dict[str, str] = {}
    """`name -> published_at` of the last full answer."""


class Collected(msgspec.Struct, frozen=True):
    """The result of reading an upstream once.

    `changed` brings all that is offered (or, if `is_partial`, what was added or changed since, and `withdrawn`);
    `unchanged` brings nothing; `failed` brings `failure`. The first two bring the memory for the next time.
    """

    outcome: Literal["changed", "unchanged", "failed"]
    label: str = ""
    """How upstream names this state: a version, a serial, an ETag."""
    items: tuple[Item, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    memory: Memory = Memory()
    is_partial: bool = False
    withdrawn: tuple[str, ...] = ()
    failure: Failure | None = None
    requests: int = 0
    received: int = 0
    """Bytes of all answers, as they came over the wire."""


@dataclass(slots=True)
class Traffic:
    """The traffic of a pull, also of one that failed."""

    requests: int = 0
    received: int = 0
    """Bytes of bodies as they came over the wire."""
