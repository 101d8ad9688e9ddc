"""From votes and texts to a standing, and to the sentences that say what is missing."""

from app.consensus.machine import Status
from app.consensus.policy import ConsensusPolicy
from app.consensus.votes import Candidate, Gate, VoteCount, Voter, count_votes, missing

POLICY = ConsensusPolicy()


def text(digest: str, is_rule: bool = True, gate: Gate = "waiting", first_seen: str = "2026") -> Candidate:
    return Candidate(digest, is_rule, gate, first_seen)


def of(votes: str, *texts: Candidate, approved: str | None = None) -> tuple[VoteCount, list[str]]:
    """One admin-issued voter per letter, who votes for the variant that the letter names."""
    voters = [
        (Voter(f"v{i}", "admin", None, "10.0.0.1", None, True), letter) for i, letter in enumerate(votes)
    ]
    found = count_votes(voters, texts, approved, POLICY)
    return found, missing(found, texts, POLICY)


def test_no_rule_is_a_draft_however_many_confirm_it() -> None:
    found, sentences = of("aaaa", text("a", is_rule=False))
    assert (found.status, found.counted, found.choices) == (Status.DRAFT, 4, ())
    assert sentences == ["A text that is a rule: none of those sent is one; a reviewer can supply it."]


def test_one_rule_is_pending_until_the_threshold() -> None:
    found, sentences = of("aa", text("a"))
    assert found.status is Status.PENDING
    assert sentences == ["1 more independent confirmation."]


def test_three_of_one_text_are_confirmed() -> None:
    found, sentences = of("aaa", text("a"))
    assert (found.status, found.choices, sentences) == (Status.CONFIRMED, ("a",), [])


def test_the_quorum_needs_two_of_one_text() -> None:
    found, sentences = of("abc", text("a"), text("b"), text("c"))
    assert found.status is Status.PENDING
    assert sentences == [
        "A common text: the best supported detection has 1 counted supporter of 2; a reviewer can choose one."
    ]


def test_the_third_vote_may_be_for_something_else() -> None:
    assert of("aab", text("a"), text("b"))[0].status is Status.CONFIRMED


def test_most_supporters_first_then_the_one_seen_first() -> None:
    assert of("aabbb", text("a"), text("b"))[0].choices == ("b", "a")
    assert of("aabb", text("a", first_seen="2"), text("b", first_seen="1"))[0].choices == ("b", "a")


def test_what_failed_the_gate_is_no_choice() -> None:
    found, sentences = of("aaa", text("a", gate="failed"))
    assert found.status is Status.PENDING
    assert sentences == ["A text that passes the gate: none of those sent does; a reviewer can supply one."]


def test_a_reviewers_choice_waives_the_quorum_but_never_the_threshold() -> None:
    assert of("abc", text("a"), text("b"), approved="b")[0].choices == ("b",)
    found, sentences = of("ab", text("a"), text("b"), approved="b")
    assert found.status is Status.PENDING
    assert sentences == ["1 more independent confirmation."]


def test_a_reviewers_choice_decides_alone() -> None:
    assert of("aaaab", text("a"), text("b"), approved="b")[0].choices == ("b",)
