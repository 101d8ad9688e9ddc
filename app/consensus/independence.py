"""Which votes are independent of each other.

Pure: the same function feeds the count at submission, the promotion cycle, false-positive reports and the answer
to "why". One identity is the subject of one enrolled key; what a client writes into `X-Panguard-Client-Id` is
recorded and never counted, since anybody can write anything there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from app.access.networks import Networks, source_of
from app.consensus.policy import ConsensusPolicy


@dataclass(frozen=True, slots=True)
class Voter:
    """An identity at the moment of its vote.

    `enrolled` is `admin` or `self`; `registered_from` is where a self-registered identity got its key,
    `voted_from` where the vote came from (None: not recorded); `live` says that a key of it is still valid.
    """

    subject: str
    enrolled: str
    registered_from: str | None
    voted_from: str | None
    site: str | None
    live: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a vote counts, and why in one clause."""

    counted: bool
    reason: str


KEY_REVOKED = Verdict(False, "key revoked")
UNWANTED = Verdict(False, "self-registered identities do not count here")


def weigh(voters: Sequence[Voter], policy: ConsensusPolicy) -> list[Verdict]:
    """One verdict per voter, who come in order of time: of several that are not independent the first counts.

    The two ways of enrolment are compared among themselves only. A self-registered identity is compared by both
    the address that it registered from and the one it voted from, so moving a host between the two steps gains
    nothing; an admin-issued one by the address it voted from (an admin's own address says nothing about it).
    """
    nat = _networks(policy.nat_networks)
    taken: dict[tuple[str, str], str] = {}
    verdicts = []
    for voter in voters:
        mode = policy.mode_of(voter.enrolled)
        if not voter.live:
            verdicts.append(KEY_REVOKED)
        elif mode == "none":
            verdicts.append(UNWANTED)
        else:
            places = [] if mode == "each" else list(_places(voter, mode, nat))
            shared = next((place for place in places if (voter.enrolled, place) in taken), None)
            if shared is None:
                taken |= {(voter.enrolled, place): voter.subject for place in places}
                verdicts.append(Verdict(True, "counted"))
            else:
                other = taken[voter.enrolled, shared]
                verdicts.append(Verdict(False, f"not independent of {other}: {shared}"))
    return verdicts


def _places(voter: Voter, mode: str, nat: Networks) -> Iterator[str]:
    """What two identities of this class must not have in common."""
    if mode == "site":
        # Identities without a label could be anywhere, the same place included: together they are one site.
        yield f"same site {voter.site}" if voter.site else "no site label"
        return
    addresses = {voter.voted_from}
    if voter.enrolled != "admin":
        addresses.add(voter.registered_from)
    known = sorted(address for address in addresses if address)
    if not known and voter.enrolled != "admin":
        yield "no recorded address"
    for address in known:
        if not nat.contains(address):
            yield f"same address {source_of(address)}"


@lru_cache(maxsize=8)
def _networks(cidrs: tuple[str, ...]) -> Networks:
    return Networks.parse(cidrs)
