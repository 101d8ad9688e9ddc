"""The SQL that reads the voters of evidence, and that remembers under which terms they were last counted.

Which of them are independent, `app.consensus.votes` decides.
"""

from typing import Any, Self

import msgspec
from sqlite_utils import Database

from app.consensus.policy import ConsensusPolicy
from app.consensus.votes import Voter

_LAST_RECOUNT = "intel_counted"
"""The name of the record in the table `instance`."""

COLUMNS = (
    "v.subject, k.enrolled, k.address, v.address, k.site,"
    " EXISTS (SELECT 1 FROM key l WHERE l.subject = v.subject AND l.revoked_at IS NULL)"
)
"""Of a table `v` with `subject`, `key_id` and `address`, joined with `JOIN`; `voter_of` reads them."""

JOIN = "LEFT JOIN key k ON k.id = v.key_id"
"""A voter is known by the key that it reported with; it is live while it has any valid key."""

ALWAYS_COUNTED = 10
"""Up to so many votes for one skill or address are counted with each report. Beyond, a job counts within a minute:
otherwise a fleet whose Guards all report the same skill would cost quadratic time, and its reports would wait."""


def voter_of(row: tuple[Any, ...]) -> Voter:
    """Return the voter in the first six columns of a row."""
    subject, enrolled, registered_from, voted_from, site, live = row[:6]
    return Voter(subject, enrolled or "self", registered_from, voted_from, site, bool(live))


class LastRecount(msgspec.Struct, frozen=True):
    """The terms of independence under which everything was last counted, and when."""

    admin_issued: str
    self_registered: str
    nat_networks: tuple[str, ...]
    at: str

    @classmethod
    def under(cls, policy: ConsensusPolicy, at: str) -> Self:
        """Return the record of a recount under the terms of `policy`."""
        return cls(policy.admin_issued, policy.self_registered, policy.nat_networks, at)

    def has_terms_of(self, policy: ConsensusPolicy) -> bool:
        """Return True when a count under these terms is good under `policy`."""
        return self == self.under(policy, self.at)


def last_recount(db: Database) -> LastRecount | None:
    """Return the last recount, None before the first."""
    row = next(db.query("SELECT value FROM instance WHERE name = ?", [_LAST_RECOUNT]), None)
    return msgspec.json.decode(row["value"], type=LastRecount) if row else None


def keep_last_recount(db: Database, done: LastRecount) -> None:
    """Record a recount."""
    row = {"name": _LAST_RECOUNT, "value": msgspec.json.encode(done).decode()}
    db.table("instance").insert(row, replace=True)


def subjects_revoked_since(db: Database, since: str) -> list[str]:
    """Return the identities that lost a key since an instant."""
    rows = db.query("SELECT DISTINCT subject FROM key WHERE revoked_at >= ?", [since])
    return [row["subject"] for row in rows]
