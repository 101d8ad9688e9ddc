"""What the votes and texts of an undecided proposal amount to.

The hash is not the content: whoever sends a hash first must not own the text that honest scanners then confirm
(on the public server it does). So votes are counted twice: all independent ones against the threshold, and those
for one detection against the content quorum.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.consensus.independence import Verdict, Voter, weigh
from app.consensus.policy import ConsensusPolicy
from app.consensus.states import Status

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
class Standing:
    """The count of a proposal.

    `status` is draft, pending or confirmed; `counted` the independent confirmations; `verdicts` one per vote in
    order of time; `supporters` the counted votes per variant; `choices` the variants that may be promoted, best
    first.
    """

    status: Status
    counted: int
    verdicts: tuple[Verdict, ...]
    supporters: Mapping[str, int]
    choices: tuple[str, ...]


def standing(
    votes: Sequence[tuple[Voter, str]],
    candidates: Sequence[Candidate],
    approved: str | None,
    policy: ConsensusPolicy,
) -> Standing:
    """Count `votes` (voter and variant digest, in order of time) for `candidates`.

    A reviewer's choice (`approved`) waives the content quorum and decides alone between the texts; it never waives
    the threshold. Without one, the variant with the most counted supporters comes first; of equals, the one seen
    first.
    """
    verdicts = weigh([voter for voter, _ in votes], policy)
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
    return Standing(status, counted, tuple(verdicts), supporters, tuple(c.digest for c in fit))


def missing(found: Standing, candidates: Sequence[Candidate], policy: ConsensusPolicy) -> list[str]:
    """What an undecided proposal still waits for, one sentence each; empty when it is confirmed."""
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
