"""What reviewers and admins decide."""

import pytest

from app.consensus import review
from app.consensus.errors import Refused, UnknownProposal, UnusableText
from app.consensus.machine import Status
from tests.consensus.harness import CATASTROPHIC, DRAFT, ConsensusHarness
from tests.example_rules import short_rule_text

pytestmark = pytest.mark.anyio


async def variant_with(harness: ConsensusHarness, content: str) -> str:
    shown = await harness.consensus.show("hash-1")
    return next(v.variant for v in shown.variants if content in v.rule_content)


async def three_texts(harness: ConsensusHarness) -> None:
    for pattern, who in zip(
        ("signing key", "signing.key", "the signing"), await harness.agents(3), strict=True
    ):
        await harness.submit(who, short_rule_text(pattern=pattern))


async def test_a_reviewer_chooses_between_three_detections(harness: ConsensusHarness) -> None:
    await three_texts(harness)
    wanted = await variant_with(harness, "the signing'}")
    decision = await harness.consensus.approve("hash-1", wanted, harness.by(), "the widest")
    assert (decision.status, decision.missing) == (Status.CONFIRMED, [])
    await harness.consensus.run_cycle(harness.now)
    assert "the signing'}" in await harness.text_of("ATR-2026-90001")
    assert ("rita", "proposal.approved") in await harness.audited()


async def test_approval_without_a_name_takes_the_text_that_leads_and_none_when_several_do(
    harness: ConsensusHarness,
) -> None:
    await three_texts(harness)
    with pytest.raises(Refused, match="3 texts have the same support") as refused:
        await harness.consensus.approve("hash-1", None, harness.by(), None)
    assert len(refused.value.reasons) == 3
    await harness.submit(await harness.agent("fourth"), short_rule_text(pattern="signing.key"))
    await harness.consensus.approve("hash-1", None, harness.by(), None)
    shown = await harness.consensus.show("hash-1")
    assert "signing.key" in next(v for v in shown.variants if v.approved).rule_content


async def test_approval_never_waives_the_threshold(harness: ConsensusHarness) -> None:
    await harness.submit(await harness.agent("only"), short_rule_text())
    decision = await harness.consensus.approve("hash-1", None, harness.by(), None)
    assert (decision.status, decision.missing) == (Status.PENDING, ["2 more independent confirmations."])
    report = await harness.consensus.run_cycle(harness.now)
    assert report.promoted == ()
    assert await harness.served() == {}
    for name in ("second", "third"):
        receipt = await harness.submit(await harness.agent(name), DRAFT)
    assert receipt.status is Status.CONFIRMED


async def test_approval_of_what_the_gate_refuses_is_refused_with_its_reasons(
    harness: ConsensusHarness,
) -> None:
    await harness.submit(await harness.agent("only"), short_rule_text(pattern="never there"))
    with pytest.raises(Refused, match="gate refuses") as refused:
        await harness.consensus.approve("hash-1", None, harness.by(), None)
    assert "does not fire" in refused.value.reasons[0]


async def test_approval_of_drafts_or_of_the_unknown_is_refused(harness: ConsensusHarness) -> None:
    await harness.submit(await harness.agent("only"), DRAFT)
    with pytest.raises(Refused, match="supply one"):
        await harness.consensus.approve("hash-1", None, harness.by(), None)
    with pytest.raises(UnknownProposal, match="no variant"):
        await harness.consensus.approve("hash-1", "f" * 64, harness.by(), None)
    with pytest.raises(UnknownProposal, match="No proposal"):
        await harness.consensus.approve("hash-2", None, harness.by(), None)


async def test_drafts_confirmed_by_three_become_a_rule_with_a_reviewers_text(
    harness: ConsensusHarness,
) -> None:
    for who in await harness.agents(3):
        await harness.submit(who, DRAFT)
    decision = await harness.consensus.supply_text("hash-1", short_rule_text(), harness.by(), None)
    assert decision.status is Status.CONFIRMED
    report = await harness.consensus.run_cycle(harness.now)
    assert report.promoted == ("hash-1",)
    assert await harness.served() == {"ATR-2026-90001": "community"}
    supplied = (await harness.consensus.show("hash-1")).variants[0]
    assert (supplied.supplied_by, supplied.approved, supplied.supporters) == ("rita", True, 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (short_rule_text(agent_source=False), "agent_source"),
        (short_rule_text(pattern="never there"), "does not fire"),
        (short_rule_text(pattern="("), "does not compile"),
        (short_rule_text(pattern=CATASTROPHIC, hit="a" * 40 + "!"), "time"),
    ],
)
async def test_a_supplied_text_must_pass_the_gate_or_nothing_is_kept(
    harness: ConsensusHarness, text: str, reason: str
) -> None:
    await harness.submit(await harness.agent("only"), DRAFT)
    with pytest.raises(UnusableText) as refused:
        await harness.consensus.supply_text("hash-1", text, harness.by(), None)
    assert any(reason in each for each in refused.value.reasons)
    assert len((await harness.consensus.show("hash-1")).variants) == 1


async def test_a_supplied_text_takes_the_place_of_one_with_its_detection(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text(agent_source=False))
    decision = await harness.consensus.supply_text(
        "hash-1", short_rule_text(title="Mended"), harness.by(), None
    )
    assert decision.status is Status.CONFIRMED
    (variant,) = (await harness.consensus.show("hash-1")).variants
    assert (variant.supporters, variant.supplied_by) == (3, "rita")
    assert "Mended" in variant.rule_content


async def test_rejected_is_final_until_an_admin_reopens_it(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text(), times=2)
    await harness.consensus.reject("hash-1", harness.by(), "noise")
    receipts = [await harness.submit(await harness.agent(f"late-{i}"), short_rule_text()) for i in range(3)]
    assert {receipt.status for receipt in receipts} == {Status.REJECTED}
    await harness.consensus.run_cycle(harness.now)
    for act in (
        harness.consensus.approve("hash-1", None, harness.by(), None),
        harness.consensus.supply_text("hash-1", short_rule_text(), harness.by(), None),
        harness.consensus.reject("hash-1", harness.by(), "again"),
        harness.consensus.withdraw("hash-1", harness.by(), "again"),
    ):
        with pytest.raises(Refused, match="an admin can reopen it"):
            await act
    assert await harness.served() == {}
    assert (await harness.consensus.show("hash-1")).reason == "noise"
    decision = await harness.consensus.reopen("hash-1", harness.by("ada"), "it was right")
    assert (decision.status, decision.confirmations) == (Status.CONFIRMED, 5)
    assert ("ada", "proposal.reopened") in await harness.audited()


async def test_withdrawal_takes_the_rule_out_at_once_and_for_good(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text())
    await harness.consensus.run_cycle(harness.now)
    await harness.consensus.withdraw("hash-1", harness.by(), "too broad")
    assert await harness.served() == {}
    assert harness.changes[-1] == "hash-1 withdrawn"
    await harness.submit(await harness.agent("late"), short_rule_text())
    await harness.consensus.run_cycle(harness.now)
    assert (await harness.status(), await harness.served()) == ("withdrawn", {})
    held = await harness.rule_of()
    assert held is not None
    assert (held.state, held.reason) == ("withdrawn", "too broad")


async def test_a_decided_proposal_keeps_the_count_that_decided(harness: ConsensusHarness) -> None:
    agents = await harness.confirm(short_rule_text())
    await harness.consensus.run_cycle(harness.now)
    await harness.revoke(agents[0])
    await harness.consensus.withdraw("hash-1", harness.by(), "x")
    assert (await harness.consensus.show("hash-1")).confirmations == 3


async def test_a_text_that_was_replaced_while_it_was_gated_is_not_approved(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text(), times=1)
    variant = (await harness.consensus.show("hash-1")).variants[0].variant
    policy, by = harness.consensus.policy, harness.by()
    with pytest.raises(Refused, match="replaced"):
        await harness.storage.write(
            lambda db: review.approve(db, "hash-1", variant, short_rule_text(title="Other"), by, None, policy)
        )


async def test_what_is_not_in_service_is_rejected_and_what_is_withdrawn(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text())
    with pytest.raises(Refused, match="approve or reject it instead"):
        await harness.consensus.withdraw("hash-1", harness.by(), "x")
    await harness.consensus.run_cycle(harness.now)
    with pytest.raises(Refused, match="withdraw it"):
        await harness.consensus.reject("hash-1", harness.by(), "x")


async def test_a_reopened_rule_comes_back_under_its_id(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text())
    await harness.consensus.run_cycle(harness.now)
    await harness.consensus.withdraw("hash-1", harness.by(), "x")
    await harness.consensus.reopen("hash-1", harness.by("ada"), "y")
    assert await harness.served() == {}
    await harness.consensus.run_cycle(harness.now)
    assert await harness.served() == {"ATR-2026-90001": "community"}
