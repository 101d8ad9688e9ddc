"""Which votes are independent of each other, and what the votes and texts of a proposal come to.

Pure: `judge_independence` feeds the count at submission, the promotion cycle, false-positive reports and the answer
to "why". One identity is the subject of one enrolled key; what a client writes into `X-Panguard-Client-Id` is
recorded and never counted, since anybody can write anything there.

`count_votes`: the hash is not the content, and the first sender of a hash must not own the text that honest scanners
then confirm (on the public server it does). So votes are counted twice: all independent ones against the threshold,
and those for one detection against the content quorum.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from app.access.networks import Networks, source_of
from app.consensus.machine import Status
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
class VoteVerdict:
    """Whether a vote counts, and why in one clause."""

    counted: bool
    reason: str


KEY_REVOKED = VoteVerdict(False, "key revoked")
UNWANTED = VoteVerdict(False, "self-registered identities do not count here")


def judge_independence(voters: Sequence[Voter], policy: ConsensusPolicy) -> list[VoteVerdict]:
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
                verdicts.append(VoteVerdict(True, "counted"))
            else:
                other = taken[voter.enrolled, shared]
                verdicts.append(VoteVerdict(False, f"not independent of {other}: {shared}"))
    return verdicts


def _places(voter: Voter, mode: str, nat: Networks) -> Iterator[str]:
    """Return what two identities of this class must not have in common."""
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


Gate = Literal["waiting", "passed", "failed"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant of a proposal: the texts whose detection is the same.

    `is_rule` says that its text has no structural problem, `gate` what the gate said of it, `first_seen` is an
    instant as text.
    """

    digest: str
    is_rule: bool
    gate: Gate
    first_seen: str

    @property
    def eligible(self) -> bool:
        """False for what can never be promoted as it is."""
        return self.is_rule and self.gate != "failed"


@dataclass(frozen=True, slots=True)
class VoteCount:
    """The count of a proposal.

    `status` is draft, pending or confirmed; `counted` the independent confirmations; `verdicts` one per vote in
    order of time; `supporters` the counted votes per variant; `choices` the variants that may be promoted, best
    first.
    """

    status: Status
    counted: int
    verdicts: tuple[VoteVerdict, ...]
    supporters: Mapping[str, int]
    choices: tuple[str, ...]


def count_votes(
    votes: Sequence[tuple[Voter, str]],
    candidates: Sequence[Candidate],
    approved: str | None,
    policy: ConsensusPolicy,
) -> VoteCount:
    """Count `votes` (voter and variant digest, in order of time) for `candidates`.

    A reviewer's choice (`approved`) waives the content quorum and decides alone between the texts; it never waives
    the threshold. Without one, the variant with the most counted supporters comes first; of equals, the one seen
    first.
    """
    verdicts = judge_independence([voter for voter, _ in votes], policy)
    supporters = Counter(
        variant for (_, variant), verdict in zip(votes, verdicts, strict=True) if verdict.counted
    )
    counted = supporters.total()
    if approved is None:
        fit = [c for c in candidates if c.eligible and supporters[c.digest] >= policy.content_quorum]
        fit.sort(key=lambda c: (-supporters[c.digest], c.first_seen, c.digest))
    else:
        fit = [c for c in candidates if c.eligible and c.digest == approved]
    if not any(candidate.is_rule for candidate in candidates):
        status = Status.DRAFT
    elif fit and counted >= policy.threshold:
        status = Status.CONFIRMED
    else:
        status = Status.PENDING
    return VoteCount(status, counted, tuple(verdicts), supporters, tuple(c.digest for c in fit))


def missing(found: VoteCount, candidates: Sequence[Candidate], policy: ConsensusPolicy) -> list[str]:
    """Return what an undecided proposal still waits for, one sentence each; empty when it is confirmed."""
    sentences = []
    lacking = policy.threshold - found.counted
    if lacking > 0:
        sentences.append(f"{lacking} more independent {_plural(lacking, 'confirmation')}.")
    if found.choices:
        return sentences
    rules = [candidate for candidate in candidates if candidate.is_rule]
    eligible = [candidate for candidate in rules if candidate.eligible]
    if not rules:
        sentences.append("A text that is a rule: none of those sent is one; a reviewer can supply it.")
    elif not eligible:
        sentences.append("A text that passes the gate: none of those sent does; a reviewer can supply one.")
    else:
        best = max(found.supporters.get(candidate.digest, 0) for candidate in eligible)
        sentences.append(
            f"A common text: the best supported detection has {best} counted "
            f"{_plural(best, 'supporter')} of {policy.content_quorum}; a reviewer can choose one."
        )
    return sentences


def _plural(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"
