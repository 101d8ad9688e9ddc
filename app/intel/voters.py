"""Reading the voters of evidence, for the one rule on who is independent (`app.consensus.votes`)."""

from typing import Any

from app.consensus.votes import Voter

COLUMNS = (
    "v.subject, k.enrolled, k.address, v.address, k.site,"
    " EXISTS (SELECT 1 FROM key l WHERE l.subject = v.subject AND l.revoked_at IS NULL)"
)
"""Of a table `v` with `subject`, `key_id` and `address`, joined with `JOIN`; `voter_of` reads them."""

JOIN = "LEFT JOIN key k ON k.id = v.key_id"
"""What is known of a voter is what the key says that it reported with; live is whoever has any key left."""


ALWAYS_COUNTED = 10
"""Up to so many votes for one thing, each is counted at once. Beyond, a job counts within a minute: otherwise a fleet
whose Guards all speak of the same skill would cost quadratic time, and keep its own reports waiting meanwhile."""


def voter_of(row: tuple[Any, ...]) -> Voter:
    """The voter in the first six columns of a row."""
    subject, enrolled, registered_from, voted_from, site, live = row[:6]
    return Voter(subject, enrolled or "self", registered_from, voted_from, site, bool(live))
