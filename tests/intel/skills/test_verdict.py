"""Which skills are listed: decided by identities, whatever they send and however often."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.consensus.policy import ConsensusPolicy
from app.consensus.votes import Voter, judge_independence
from app.intel.skills.verdict import LEVELS, Report, TrustVote, name_hash, normal_name, risk_of, trust_of

POLICY = ConsensusPolicy()


def voter(name: str, address: str = "10.0.0.1", enrolled: str = "admin", live: bool = True) -> Voter:
    return Voter(name, enrolled, address if enrolled == "self" else None, address, None, live)


def report(name: str, score: float = 80, skill_hash: str = "h", level: str = "HIGH", **who: str) -> Report:
    return Report(voter(name, **who), "Skill", skill_hash, score, level)  # type: ignore[arg-type]


def vouch(name: str, fingerprint: str | None = None) -> TrustVote:
    return TrustVote(voter(name), "Skill", fingerprint)


@pytest.mark.parametrize(
    ("name", "normal"),
    [(" My Skill ", "my-skill"), ("a \t\n b", "a-b"), ("A\u00a0B", "a-b"), ("\ufeffx", "x"), ("a-b", "a-b")],
)
def test_names_are_the_same_skill(name: str, normal: str) -> None:
    assert normal_name(name) == normal


@given(st.text(max_size=30))
def test_a_normal_name_is_one(name: str) -> None:
    assert normal_name(normal_name(name)) == normal_name(name)


def test_three_identities_with_a_high_risk_list_a_skill() -> None:
    reports = [report("a"), report("b", 90), report("c", 70)]
    assert not risk_of(reports[:2], POLICY).is_listed()
    risk = risk_of(reports, POLICY)
    assert (risk.reporters, risk.average, risk.top_level) == (3, 80.0, "HIGH")
    assert risk.is_listed()
    assert risk.skill_hash == "h"
    assert not risk_of([report("a", 60), report("b", 70), report("c", 70)], POLICY).is_listed()


def test_one_identity_is_one_whatever_hashes_it_sends() -> None:
    risk = risk_of([report("a", 100, f"h{number}") for number in range(10)], POLICY)
    assert (risk.reporters, risk.skill_hash) == (1, None)


def test_the_highest_report_of_an_identity_counts_and_the_top_level_is_no_matter_of_letters() -> None:
    risk = risk_of(
        [report("a", 10, "x", "MEDIUM"), report("a", 50, "y", "CRITICAL"), report("b", 70)], POLICY
    )
    assert (risk.average, risk.top_level) == (60.0, "CRITICAL")


def test_a_hash_that_one_identity_attaches_to_a_name_is_not_served() -> None:
    reports = [report("a", skill_hash="good"), report("b", skill_hash="x"), report("c", skill_hash="y")]
    assert risk_of(reports, POLICY).is_listed()
    assert risk_of(reports, POLICY).skill_hash is None


def test_hosts_that_registered_from_one_address_are_one_reporter() -> None:
    reports = [report(f"self:{n}", address="10.0.0.9", enrolled="self") for n in range(20)]
    assert risk_of(reports, POLICY).reporters == 1


@pytest.mark.parametrize(
    ("prints", "confirmations", "trusted", "disputed", "fingerprint"),
    [
        (["f", "f", "f"], 3, True, False, "f"),
        ([None, None, None], 3, True, False, None),
        (["f", "f", None], 3, True, False, None),
        (["f", "f"], 2, False, False, None),
        (["f", "g", None], 3, False, True, None),
        (["f", "f", "g", None], 4, False, True, None),
        (["f", "f", "f", "g"], 3, True, True, "f"),
        ([None, None, None, "f", "g"], 3, True, True, None),
        (["g", "f", "f", "f", "g", "g"], 3, True, True, "f"),
        ([], 0, False, False, None),
    ],
)
def test_a_skill_is_trusted_when_three_agree(
    prints: list[str | None], confirmations: int, trusted: bool, disputed: bool, fingerprint: str | None
) -> None:
    trust = trust_of([vouch(str(number), value) for number, value in enumerate(prints)], POLICY)
    assert (trust.confirmations, trust.is_trusted, trust.is_disputed, trust.fingerprint) == (
        confirmations,
        trusted,
        disputed,
        fingerprint,
    )


def test_the_vote_of_a_revoked_key_does_not_count() -> None:
    vouches = [vouch("a"), vouch("b"), TrustVote(voter("c", live=False), "Skill", None)]
    assert not trust_of(vouches, POLICY).is_trusted


def test_a_name_has_one_hash_of_its_own() -> None:
    assert name_hash("my-skill") == name_hash("my-skill")
    assert len(name_hash("my-skill")) == 16


voters = st.builds(
    Voter,
    subject=st.sampled_from("abcdefgh"),
    enrolled=st.sampled_from(["admin", "self"]),
    registered_from=st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"]),
    voted_from=st.sampled_from(["10.0.0.1", "10.0.0.3"]),
    site=st.none(),
    live=st.booleans(),
)
reports = st.lists(
    st.builds(
        Report,
        voter=voters,
        display=st.just("s"),
        skill_hash=st.sampled_from("xyz"),
        score=st.floats(0, 100),
        level=st.sampled_from(LEVELS),
    ),
    max_size=20,
)
policies = st.builds(ConsensusPolicy, self_registered=st.sampled_from(["none", "address", "each"]))


@given(reports, policies)
def test_no_number_of_reports_is_more_than_the_independent_identities(
    sent: list[Report], policy: ConsensusPolicy
) -> None:
    risk = risk_of(sent, policy)
    firsts = {report.voter.subject: report.voter for report in reversed(sent)}
    order = list(dict.fromkeys(report.voter.subject for report in sent))
    counted = sum(verdict.counted for verdict in judge_independence([firsts[name] for name in order], policy))
    assert risk.reporters == counted
    assert 0 <= risk.average <= 100
    assert risk_of(sent + sent, policy) == risk


votes = st.lists(
    st.builds(
        TrustVote,
        voter=voters,
        display=st.just("s"),
        fingerprint=st.none() | st.sampled_from(["f", "g", "h"]),
    ),
    max_size=12,
    unique_by=lambda vote: vote.voter.subject,
)


@given(votes, policies)
def test_whatever_is_trusted_three_independent_identities_stand_behind(
    sent: list[TrustVote], policy: ConsensusPolicy
) -> None:
    trust = trust_of(sent, policy)
    verdicts = judge_independence([vote.voter for vote in sent], policy)
    counted = Counter(
        vote.fingerprint for vote, verdict in zip(sent, verdicts, strict=True) if verdict.counted
    )
    assert trust.confirmations <= counted.total()
    if trust.is_trusted:
        assert trust.confirmations >= 3
    if trust.fingerprint is not None:
        assert trust.is_trusted
        assert counted[trust.fingerprint] >= 3
