"""Proposing and confirming, on a real database."""

import pytest

from app.consensus.errors import UnusableText
from app.consensus.machine import Status
from app.consensus.submission import ALWAYS_RECOUNTED, SubmissionOutcome
from tests.consensus.harness import DRAFT, ConsensusHarness
from tests.example_rules import short_rule_text

pytestmark = pytest.mark.anyio


async def test_the_first_vote_proposes_and_the_third_confirms(harness: ConsensusHarness) -> None:
    first, second, third = await harness.agents(3)
    receipts = [await harness.submit(who, short_rule_text()) for who in (first, second, third)]
    assert [(r.outcome, r.status, r.confirmations) for r in receipts] == [
        (SubmissionOutcome.SUBMITTED, Status.PENDING, 1),
        (SubmissionOutcome.CONFIRMED, Status.PENDING, 2),
        (SubmissionOutcome.CONFIRMED, Status.CONFIRMED, 3),
    ]


async def test_one_identity_never_counts_twice_whatever_it_sends(harness: ConsensusHarness) -> None:
    (who,) = await harness.agents(1)
    await harness.submit(who, DRAFT)
    again = [
        await harness.submit(who, text)
        for text in (DRAFT, short_rule_text(), short_rule_text(pattern="other"))
    ]
    assert [(r.outcome, r.status, r.confirmations) for r in again] == [
        (SubmissionOutcome.ALREADY, Status.DRAFT, 1)
    ] * 3
    assert len((await harness.consensus.show("hash-1")).variants) == 1


async def test_several_keys_of_one_subject_are_one_identity(harness: ConsensusHarness) -> None:
    for _ in range(3):
        receipt = await harness.submit(await harness.agent("same", address="10.0.0.9"), short_rule_text())
    assert (receipt.outcome, receipt.confirmations) == (SubmissionOutcome.ALREADY, 1)


async def test_three_self_registered_from_one_host_count_once(harness: ConsensusHarness) -> None:
    for number in range(5):
        who = await harness.agent(
            f"self:{number}", enrolled="self", registered_from="10.6.6.6", address="10.6.6.6"
        )
        receipt = await harness.submit(who, short_rule_text())
    assert (receipt.status, receipt.confirmations) == (Status.PENDING, 1)
    why = await harness.consensus.why("hash-1")
    assert [vote.counted for vote in why.votes] == [True, False, False, False, False]
    assert why.votes[4].reason == "not independent of self:0: same address 10.6.6.6"
    assert why.missing[0] == "2 more independent confirmations."


async def test_the_same_detection_under_other_titles_is_one_variant(harness: ConsensusHarness) -> None:
    for number, who in enumerate(await harness.agents(3)):
        await harness.submit(who, short_rule_text(f"ATR-2026-9000{number}", title=f"Title {number}"))
    shown = await harness.consensus.show("hash-1")
    assert [(v.supporters, v.counted) for v in shown.variants] == [(3, 3)]
    assert shown.status == "confirmed"
    assert "Title 0" in shown.variants[0].rule_content


async def test_a_squatters_text_stays_behind_the_one_that_honest_scanners_share(
    harness: ConsensusHarness,
) -> None:
    squatter, *honest = await harness.agents(3)
    await harness.submit(squatter, short_rule_text(pattern="harmless", title="Mine"))
    for who in honest:
        await harness.submit(who, short_rule_text(title="Honest"))
    await harness.consensus.run_cycle(harness.now)
    assert "title: Honest" in await harness.text_of("ATR-2026-90001")


async def test_three_different_detections_wait_for_a_reviewer(harness: ConsensusHarness) -> None:
    for number, who in enumerate(await harness.agents(3)):
        await harness.submit(who, short_rule_text(pattern=f"signing key {number}?"))
    shown = await harness.consensus.show("hash-1")
    assert (shown.status, shown.confirmations, len(shown.variants)) == ("pending", 3, 3)
    assert "1 counted supporter of 2" in shown.missing[0]


async def test_a_detection_is_not_owned_by_a_broken_text_around_it(harness: ConsensusHarness) -> None:
    broken, *sound = await harness.agents(3)
    assert (await harness.submit(broken, short_rule_text(agent_source=False))).status is Status.DRAFT
    assert (await harness.submit(sound[0], short_rule_text())).status is Status.PENDING
    assert (await harness.submit(sound[1], short_rule_text(agent_source=False))).status is Status.CONFIRMED
    (variant,) = (await harness.consensus.show("hash-1")).variants
    assert variant.is_rule
    assert "agent_source" in variant.rule_content


async def test_drafts_are_kept_and_counted_as_drafts(harness: ConsensusHarness) -> None:
    for who in await harness.agents(4):
        receipt = await harness.submit(who, DRAFT)
    assert (receipt.status, receipt.confirmations) == (Status.DRAFT, 4)
    assert "supply" in (await harness.consensus.why("hash-1")).missing[0]


async def test_what_is_not_yaml_leaves_nothing_behind(harness: ConsensusHarness) -> None:
    (who,) = await harness.agents(1)
    with pytest.raises(UnusableText):
        await harness.submit(who, "title: a\ntitle: b")
    rows = await harness.storage.read(lambda db: db.conn.execute("SELECT count(*) FROM proposal").fetchone())
    assert rows == (0,)


async def test_a_revoked_key_no_longer_counts_before_promotion(harness: ConsensusHarness) -> None:
    agents = await harness.confirm(short_rule_text(), times=2)
    await harness.revoke(agents[0])
    third = await harness.agent("third")
    receipt = await harness.submit(third, short_rule_text())
    assert (receipt.status, receipt.confirmations) == (Status.PENDING, 2)
    assert (await harness.consensus.why("hash-1")).votes[0].reason == "key revoked"


async def test_an_identity_with_another_valid_key_still_counts(harness: ConsensusHarness) -> None:
    agents = await harness.confirm(short_rule_text(), times=2)
    await harness.agent(agents[0].subject)
    await harness.revoke(agents[0])
    assert (await harness.submit(await harness.agent("third"), short_rule_text())).status is Status.CONFIRMED


async def test_a_vote_after_the_decision_is_kept_and_changes_nothing(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text())
    await harness.consensus.run_cycle(harness.now)
    late = await harness.submit(await harness.agent("late"), short_rule_text())
    assert (late.outcome, late.status, late.confirmations) == (
        SubmissionOutcome.CONFIRMED,
        Status.PROMOTED,
        3,
    )
    assert len((await harness.consensus.why("hash-1")).votes) == 4


async def test_a_fleet_of_drafts_is_recorded_but_not_counted_again_and_again(
    harness: ConsensusHarness,
) -> None:
    fleet = [await harness.agent(f"fleet-{number}") for number in range(ALWAYS_RECOUNTED + 20)]
    for who in fleet:
        receipt = await harness.submit(who, DRAFT)
    assert receipt.confirmations == ALWAYS_RECOUNTED
    assert (await harness.consensus.why("hash-1")).confirmations == ALWAYS_RECOUNTED + 20
    text = await harness.submit(await harness.agent("one-more"), short_rule_text())
    assert (text.status, text.confirmations) == (Status.PENDING, ALWAYS_RECOUNTED + 21)
