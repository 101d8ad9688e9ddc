"""The state machine of a proposal, alone: no sequence of events breaks its promises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.consensus.errors import Refused
from app.consensus.machine import CLOSED, OPEN, SERVED, Event, Status, after
from app.consensus.policy import ConsensusPolicy
from app.consensus.votes import Candidate, Gate, VoteCount, Voter, count_votes

statuses = st.sampled_from(list(Status))
standings = st.sampled_from(sorted(OPEN))


@given(statuses, st.sampled_from([e for e in Event if e is not Event.REOPENED]), standings, st.booleans())
def test_only_a_reopen_leaves_a_closed_state(status: Status, event: Event, now: Status, staged: bool) -> None:
    try:
        following = after(status, event, now, staged=staged)
    except Refused:
        return
    if status in CLOSED:
        assert following in CLOSED


@given(statuses, st.sampled_from(Event), standings, st.booleans())
def test_only_a_gated_and_confirmed_text_enters_service(
    status: Status, event: Event, now: Status, staged: bool
) -> None:
    try:
        following = after(status, event, now, staged=staged)
    except Refused:
        return
    if following in SERVED and status not in SERVED:
        assert (status, event, now) == (Status.CONFIRMED, Event.GATE_PASSED, Status.CONFIRMED)
        assert following is (Status.CANARY if staged else Status.PROMOTED)


@given(
    statuses, st.sampled_from([Event.SUBMITTED, Event.TICK, Event.CANARY_OVER, Event.GATE_FAILED]), standings
)
def test_votes_and_ticks_are_never_refused_and_never_touch_what_is_promoted(
    status: Status, event: Event, now: Status
) -> None:
    following = after(status, event, now)
    if status is Status.PROMOTED:
        assert following is Status.PROMOTED


def test_a_refusal_says_what_to_do_instead() -> None:
    with pytest.raises(Refused, match="withdraw it to take it out of service"):
        after(Status.PROMOTED, Event.REJECTED, Status.CONFIRMED)


class ProposalMachine(RuleBasedStateMachine):
    """One proposal, driven by events in any order; keys are revoked and come back meanwhile."""

    policy = ConsensusPolicy()

    def __init__(self) -> None:
        super().__init__()
        self.status = Status.DRAFT
        self.votes: dict[str, str] = {}
        self.revoked: set[str] = set()
        self.gates: dict[str, Gate] = {}
        self.approved: str | None = None
        self.final = False

    def count(self) -> VoteCount:
        voters = [
            (Voter(name, "admin", None, None, None, name not in self.revoked), text)
            for name, text in self.votes.items()
        ]
        texts = [Candidate(digest, digest != "draft", gate, "") for digest, gate in self.gates.items()]
        return count_votes(voters, texts, self.approved, self.policy)

    def happen(self, event: Event) -> bool:
        try:
            self.status = after(self.status, event, self.count().status)
        except Refused:
            return False
        return True

    @rule(who=st.sampled_from("abcdef"), text=st.sampled_from(["draft", "x", "y"]))
    def submit(self, who: str, text: str) -> None:
        if who not in self.votes:
            self.votes[who] = text
            self.gates.setdefault(text, "waiting")
        self.happen(Event.SUBMITTED)

    @rule(who=st.sampled_from("abcdef"))
    def revoke(self, who: str) -> None:
        self.revoked.add(who)

    @rule(text=st.sampled_from(["x", "y", "z"]))
    def approve(self, text: str) -> None:
        before = self.approved, dict(self.gates)
        self.approved, self.gates[text] = text, "passed"
        if not self.happen(Event.TEXT_SUPPLIED):
            self.approved, self.gates = before

    @precondition(lambda self: self.status is Status.CONFIRMED)
    @rule(passes=st.booleans())
    def cycle(self, passes: bool) -> None:
        self.happen(Event.TICK)
        found = self.count()
        if self.status is not Status.CONFIRMED:
            assert found.counted < self.policy.threshold or not found.choices
            return
        chosen = found.choices[0]
        self.gates[chosen] = "passed" if passes else "failed"
        if passes:
            assert self.happen(Event.GATE_PASSED)
            live = [name for name in self.votes if name not in self.revoked]
            assert len(live) >= self.policy.threshold
            supporters = [name for name in live if self.votes[name] == chosen]
            assert chosen == self.approved or len(supporters) >= self.policy.content_quorum
        else:
            self.approved = None if self.approved == chosen else self.approved
            self.happen(Event.GATE_FAILED)

    @rule(event=st.sampled_from([Event.REJECTED, Event.WITHDRAWN, Event.FALSE_POSITIVES]))
    def decide_against(self, event: Event) -> None:
        self.final = self.happen(event) or self.final

    @rule()
    def tick(self) -> None:
        self.happen(Event.TICK)

    @rule()
    def reopen(self) -> None:
        if self.happen(Event.REOPENED):
            self.final = False

    @invariant()
    def what_is_final_stays(self) -> None:
        assert (self.status in CLOSED) == self.final


TestProposal = ProposalMachine.TestCase
