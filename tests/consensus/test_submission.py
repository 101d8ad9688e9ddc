"""Proposing and confirming, on a real database."""

import pytest

from app.consensus.errors import UnusableText
from app.consensus.machine import Status
from app.consensus.submission import ALWAYS_RECOUNTED, SubmissionOutcome

from .world import DRAFT, World, rule

pytestmark = pytest.mark.anyio


async def test_the_first_vote_proposes_and_the_third_confirms(world: World) -> None:
    first, second, third = await world.agents(3)
    receipts = [await world.submit(who, rule()) for who in (first, second, third)]
    assert [(r.outcome, r.status, r.confirmations) for r in receipts] == [
        (SubmissionOutcome.SUBMITTED, Status.PENDING, 1),
        (SubmissionOutcome.CONFIRMED, Status.PENDING, 2),
        (SubmissionOutcome.CONFIRMED, Status.CONFIRMED, 3),
    ]


async def test_one_identity_never_counts_twice_whatever_it_sends(world: World) -> None:
    (who,) = await world.agents(1)
    await world.submit(who, DRAFT)
    again = [await world.submit(who, text) for text in (DRAFT, rule(), rule(pattern="other"))]
    assert [(r.outcome, r.status, r.confirmations) for r in again] == [
        (SubmissionOutcome.ALREADY, Status.DRAFT, 1)
    ] * 3
    assert len((await world.consensus.show("hash-1")).variants) == 1


async def test_several_keys_of_one_subject_are_one_identity(world: World) -> None:
    for _ in range(3):
        receipt = await world.submit(await world.agent("same", address="10.0.0.9"), rule())
    assert (receipt.outcome, receipt.confirmations) == (SubmissionOutcome.ALREADY, 1)


async def test_three_self_registered_from_one_host_count_once(world: World) -> None:
    for number in range(5):
        who = await world.agent(
            f"self:{number}", enrolled="self", registered_from="10.6.6.6", address="10.6.6.6"
        )
        receipt = await world.submit(who, rule())
    assert (receipt.status, receipt.confirmations) == (Status.PENDING, 1)
    why = await world.consensus.why("hash-1")
    assert [vote.counted for vote in why.votes] == [True, False, False, False, False]
    assert why.votes[4].reason == "not independent of self:0: same address 10.6.6.6"
    assert why.missing[0] == "2 more independent confirmations."


async def test_the_same_detection_under_other_titles_is_one_variant(world: World) -> None:
    for number, who in enumerate(await world.agents(3)):
        await world.submit(who, rule(f"ATR-2026-9000{number}", title=f"Title {number}"))
    shown = await world.consensus.show("hash-1")
    assert [(v.supporters, v.counted) for v in shown.variants] == [(3, 3)]
    assert shown.status == "confirmed"
    assert "Title 0" in shown.variants[0].rule_content


async def test_a_squatters_text_stays_behind_the_one_that_honest_scanners_share(world: World) -> None:
    squatter, *honest = await world.agents(3)
    await world.submit(squatter, rule(pattern="harmless", title="Mine"))
    for who in honest:
        await world.submit(who, rule(title="Honest"))
    await world.consensus.run_cycle(world.now)
    assert "title: Honest" in await world.text_of("ATR-2026-90001")


async def test_three_different_detections_wait_for_a_reviewer(world: World) -> None:
    for number, who in enumerate(await world.agents(3)):
        await world.submit(who, rule(pattern=f"signing key {number}?"))
    shown = await world.consensus.show("hash-1")
    assert (shown.status, shown.confirmations, len(shown.variants)) == ("pending", 3, 3)
    assert "1 counted supporter of 2" in shown.missing[0]


async def test_a_detection_is_not_owned_by_a_broken_text_around_it(world: World) -> None:
    broken, *sound = await world.agents(3)
    assert (await world.submit(broken, rule(agent_source=False))).status is Status.DRAFT
    assert (await world.submit(sound[0], rule())).status is Status.PENDING
    assert (await world.submit(sound[1], rule(agent_source=False))).status is Status.CONFIRMED
    (variant,) = (await world.consensus.show("hash-1")).variants
    assert variant.is_rule
    assert "agent_source" in variant.rule_content


async def test_drafts_are_kept_and_counted_as_drafts(world: World) -> None:
    for who in await world.agents(4):
        receipt = await world.submit(who, DRAFT)
    assert (receipt.status, receipt.confirmations) == (Status.DRAFT, 4)
    assert "supply" in (await world.consensus.why("hash-1")).missing[0]


async def test_what_is_not_yaml_leaves_nothing_behind(world: World) -> None:
    (who,) = await world.agents(1)
    with pytest.raises(UnusableText):
        await world.submit(who, "title: a\ntitle: b")
    rows = await world.storage.read(lambda db: db.conn.execute("SELECT count(*) FROM proposal").fetchone())
    assert rows == (0,)


async def test_a_revoked_key_no_longer_counts_before_promotion(world: World) -> None:
    agents = await world.confirm(rule(), times=2)
    await world.revoke(agents[0])
    third = await world.agent("third")
    receipt = await world.submit(third, rule())
    assert (receipt.status, receipt.confirmations) == (Status.PENDING, 2)
    assert (await world.consensus.why("hash-1")).votes[0].reason == "key revoked"


async def test_an_identity_with_another_valid_key_still_counts(world: World) -> None:
    agents = await world.confirm(rule(), times=2)
    await world.agent(agents[0].subject)
    await world.revoke(agents[0])
    assert (await world.submit(await world.agent("third"), rule())).status is Status.CONFIRMED


async def test_a_vote_after_the_decision_is_kept_and_changes_nothing(world: World) -> None:
    await world.confirm(rule())
    await world.consensus.run_cycle(world.now)
    late = await world.submit(await world.agent("late"), rule())
    assert (late.outcome, late.status, late.confirmations) == (
        SubmissionOutcome.CONFIRMED,
        Status.PROMOTED,
        3,
    )
    assert len((await world.consensus.why("hash-1")).votes) == 4


async def test_a_fleet_of_drafts_is_recorded_but_not_counted_again_and_again(world: World) -> None:
    fleet = [await world.agent(f"fleet-{number}") for number in range(ALWAYS_RECOUNTED + 20)]
    for who in fleet:
        receipt = await world.submit(who, DRAFT)
    assert receipt.confirmations == ALWAYS_RECOUNTED
    assert (await world.consensus.why("hash-1")).confirmations == ALWAYS_RECOUNTED + 20
    text = await world.submit(await world.agent("one-more"), rule())
    assert (text.status, text.confirmations) == (Status.PENDING, ALWAYS_RECOUNTED + 21)
