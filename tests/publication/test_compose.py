"""Which rules make the set: pure decisions, with properties."""

from hypothesis import given
from hypothesis import strategies as st

from app.publication.compose import Member, compose, difference, precedence, set_digest
from app.publication.selection import in_canary_slice

ids = st.sampled_from([f"ATR-2026-{n:05}" for n in range(6)])
origins = st.sampled_from(["local", "community", "upstream:atr", "upstream:mirror"])
members = st.builds(
    Member,
    ids,
    origins,
    st.sampled_from(["a" * 64, "b" * 64]),
    st.sampled_from(["stable", "canary"]),
    st.sampled_from(["", "atr", "atr-community"]),
)
priorities = st.dictionaries(st.sampled_from(["upstream:atr", "upstream:mirror"]), st.integers(0, 200))
NONE: dict[str, int] = {}


@given(st.lists(members), priorities)
def test_each_id_is_served_once_by_the_origin_that_ranks_first(
    held: list[Member], priority: dict[str, int]
) -> None:
    chosen = compose(held, priority)
    assert len({member.rule_id for member in chosen}) == len(chosen)
    assert {member.rule_id for member in chosen} == {member.rule_id for member in held}
    for member in chosen:
        rivals = [other for other in held if other.rule_id == member.rule_id]
        assert precedence(member.origin) == min(precedence(other.origin) for other in rivals)
        if member.origin.startswith("upstream:"):
            mine = priority.get(member.origin, 100)
            assert all(
                priority.get(o.origin, 100) <= mine for o in rivals if o.origin.startswith("upstream:")
            )


@given(st.lists(members, unique_by=lambda member: (member.rule_id, member.origin)))
def test_the_set_does_not_depend_on_the_order_of_what_is_held(held: list[Member]) -> None:
    assert compose(held, NONE) == compose(reversed(held), NONE)
    assert set_digest(compose(held, NONE)) == set_digest(reversed(compose(held, NONE)))


@given(st.lists(members), st.lists(members))
def test_the_digest_tells_different_sets_apart(one: list[Member], other: list[Member]) -> None:
    first, second = compose(one, NONE), compose(other, NONE)
    assert (set_digest(first) == set_digest(second)) == (set(first) == set(second))


@given(st.lists(members), st.lists(members))
def test_a_difference_leads_from_one_set_to_the_other(one: list[Member], other: list[Member]) -> None:
    before, after = compose(one, NONE), compose(other, NONE)
    changes = difference(before, after)
    ids_after = ({m.rule_id for m in before} - set(changes.withdrawn)) | set(changes.added)
    assert ids_after == {m.rule_id for m in after}
    assert set(changes.changed) <= {m.rule_id for m in before} & {m.rule_id for m in after}


def test_our_own_rules_are_served_first() -> None:
    held = [
        Member("ATR-2026-00001", "upstream:atr", "a"),
        Member("ATR-2026-90000", "community", "b"),
        Member("ATR-2026-95000", "local", "c"),
    ]
    assert [member.origin for member in compose(held, NONE)] == ["community", "local", "upstream:atr"]


def test_the_upstream_with_the_higher_priority_keeps_an_id() -> None:
    held = [Member("x", "upstream:atr", "a"), Member("x", "upstream:mirror", "b")]
    assert [m.origin for m in compose(held, NONE)] == ["upstream:atr"]
    assert [m.origin for m in compose(held, {"upstream:mirror": 101})] == ["upstream:mirror"]
    assert [m.origin for m in compose([*held, Member("x", "local", "c")], {"upstream:mirror": 999})] == [
        "local"
    ]


def test_provenance_is_what_upstream_said_and_makes_another_set() -> None:
    plain, given_on = (
        Member("x", "upstream:atr", "a"),
        Member("x", "upstream:atr", "a", "stable", "atr-community"),
    )
    assert plain == Member("x", "upstream:atr", "a", "stable", "atr")
    assert given_on.source == "atr-community"
    assert set_digest([plain]) != set_digest([given_on])
    assert difference([plain], [given_on]).changed == ("x",)


def test_only_upstreams_rules_are_official() -> None:
    sources = {origin: Member("x", origin, "d").source for origin in ("upstream:atr", "community", "local")}
    assert sources == {"upstream:atr": "atr", "community": "atr-community", "local": "atr-community"}


def test_the_canary_slice_is_stable_and_of_the_asked_size() -> None:
    subjects = [f"agent-{n}" for n in range(5000)]
    chosen = [subject for subject in subjects if in_canary_slice(subject, 10)]
    assert 400 < len(chosen) < 600
    assert chosen == [subject for subject in subjects if in_canary_slice(subject, 10)]
    assert set(chosen) <= {subject for subject in subjects if in_canary_slice(subject, 20)}
