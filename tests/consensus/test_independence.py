"""Who counts beside whom."""

from hypothesis import given
from hypothesis import strategies as st

from app.consensus.policy import ConsensusPolicy
from app.consensus.votes import Voter, judge_independence


def admin(name: str, address: str = "10.0.0.1", site: str | None = None, live: bool = True) -> Voter:
    return Voter(name, "admin", None, address, site, live)


def own(name: str, registered: str, voted: str | None = None, site: str | None = None) -> Voter:
    return Voter(name, "self", registered, voted or registered, site, True)


def counted(voters: list[Voter], policy: ConsensusPolicy | None = None) -> list[bool]:
    return [verdict.counted for verdict in judge_independence(voters, policy or ConsensusPolicy())]


def test_admin_issued_identities_count_each_even_from_one_address() -> None:
    assert counted([admin("a"), admin("b"), admin("c")]) == [True, True, True]


def test_self_registered_ones_count_once_per_address_and_the_first_does() -> None:
    voters = [own("a", "10.0.0.1"), own("b", "10.0.0.1"), own("c", "10.0.0.2")]
    assert counted(voters) == [True, False, True]
    assert (
        judge_independence(voters, ConsensusPolicy())[1].reason
        == "not independent of a: same address 10.0.0.1"
    )


def test_moving_between_registration_and_vote_gains_nothing() -> None:
    voters = [
        own("a", "10.0.0.1", "10.0.0.2"),
        own("b", "10.0.0.2", "10.0.0.3"),
        own("c", "10.0.0.9", "10.0.0.1"),
    ]
    assert counted(voters) == [True, False, False]


def test_an_ipv6_host_is_its_64() -> None:
    assert counted([own("a", "2001:db8::1"), own("b", "2001:db8::2"), own("c", "2001:db8:0:1::1")]) == [
        True,
        False,
        True,
    ]


def test_an_uncounted_vote_takes_no_place() -> None:
    policy = ConsensusPolicy()
    voters = [own("a", "10.0.0.1"), own("b", "10.0.0.1", "10.0.0.2"), own("c", "10.0.0.2")]
    assert counted(voters, policy) == [True, False, True]


def test_the_classes_are_compared_among_themselves() -> None:
    assert counted([admin("a", "10.0.0.1"), own("b", "10.0.0.1")]) == [True, True]


def test_behind_nat_a_shared_address_is_no_sign_of_one_host() -> None:
    policy = ConsensusPolicy(nat_networks=("203.0.113.0/24",))
    voters = [own("a", "203.0.113.7"), own("b", "203.0.113.7"), own("c", "10.0.0.1"), own("d", "10.0.0.1")]
    assert counted(voters, policy) == [True, True, True, False]


def test_self_registered_ones_can_be_shut_out_or_all_let_in() -> None:
    voters = [own("a", "10.0.0.1"), own("b", "10.0.0.1")]
    assert counted(voters, ConsensusPolicy(self_registered="none")) == [False, False]
    assert counted(voters, ConsensusPolicy(self_registered="each")) == [True, True]


def test_by_site_each_label_counts_once_and_all_unlabelled_are_one() -> None:
    policy = ConsensusPolicy(admin_issued="site")
    voters = [
        admin(name, site=site)
        for name, site in [("a", "x"), ("b", "x"), ("c", "y"), ("d", None), ("e", None)]
    ]
    assert counted(voters, policy) == [True, False, True, True, False]


def test_admin_issued_by_address_looks_at_where_the_vote_came_from() -> None:
    policy = ConsensusPolicy(admin_issued="address")
    assert counted([admin("a", "10.0.0.1"), admin("b", "10.0.0.1"), admin("c", "10.0.0.2")], policy) == [
        True,
        False,
        True,
    ]


def test_a_revoked_key_does_not_count_and_blocks_nobody() -> None:
    gone = Voter("a", "self", "10.0.0.1", "10.0.0.1", None, live=False)
    assert counted([gone, own("b", "10.0.0.1")]) == [False, True]
    assert judge_independence([gone], ConsensusPolicy())[0].reason == "key revoked"


def test_self_registered_without_any_recorded_address_are_one() -> None:
    voters = [Voter(name, "self", None, None, None, live=True) for name in "ab"]
    assert counted(voters) == [True, False]


addresses = st.sampled_from(
    ["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1", "2001:db8::2", "not-an-address"]
)
voters_strategy = st.lists(
    st.builds(
        Voter,
        subject=st.uuids().map(str),
        enrolled=st.sampled_from(["admin", "self"]),
        registered_from=st.none() | addresses,
        voted_from=addresses,
        site=st.none() | st.sampled_from(["x", "y"]),
        live=st.booleans(),
    ),
    max_size=12,
)
policies = st.builds(
    ConsensusPolicy,
    admin_issued=st.sampled_from(["each", "address", "site"]),
    self_registered=st.sampled_from(["none", "address", "site", "each"]),
    nat_networks=st.sampled_from([(), ("10.0.0.1/32",)]),
)


@given(voters_strategy, policies)
def test_a_later_vote_never_changes_the_verdict_on_an_earlier_one(
    voters: list[Voter], policy: ConsensusPolicy
) -> None:
    whole = judge_independence(voters, policy)
    assert all(judge_independence(voters[:n], policy) == whole[:n] for n in range(len(voters)))


@given(voters_strategy)
def test_however_they_mix_self_registered_never_count_beyond_their_addresses(voters: list[Voter]) -> None:
    verdicts = judge_independence(voters, ConsensusPolicy())
    selves = [
        v for v, verdict in zip(voters, verdicts, strict=True) if verdict.counted and v.enrolled == "self"
    ]
    assert all(v.live for v, verdict in zip(voters, verdicts, strict=True) if verdict.counted)
    places = [{v.registered_from, v.voted_from} - {None} for v in selves]
    for index, mine in enumerate(places):
        assert all(mine.isdisjoint(other) for other in places[:index])
