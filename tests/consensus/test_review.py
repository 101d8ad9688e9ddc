"""What reviewers and admins decide."""

import pytest

from app.consensus import review
from app.consensus.errors import Refused, UnknownProposal, UnusableText
from app.consensus.machine import Status

from .world import CATASTROPHIC, DRAFT, World, rule

pytestmark = pytest.mark.anyio


async def variant_with(world: World, content: str) -> str:
    shown = await world.consensus.show("hash-1")
    return next(v.variant for v in shown.variants if content in v.rule_content)


async def three_texts(world: World) -> None:
    for pattern, who in zip(
        ("signing key", "signing.key", "the signing"), await world.agents(3), strict=True
    ):
        await world.submit(who, rule(pattern=pattern))


async def test_a_reviewer_chooses_between_three_detections(world: World) -> None:
    await three_texts(world)
    wanted = await variant_with(world, "the signing'}")
    decision = await world.consensus.approve("hash-1", wanted, world.by(), "the widest")
    assert (decision.status, decision.missing) == (Status.CONFIRMED, [])
    await world.consensus.run_cycle(world.now)
    assert "the signing'}" in await world.text_of("ATR-2026-90001")
    assert ("rita", "proposal.approved") in await world.audited()


async def test_approval_without_a_name_takes_the_text_that_leads_and_none_when_several_do(
    world: World,
) -> None:
    await three_texts(world)
    with pytest.raises(Refused, match="3 texts have the same support") as refused:
        await world.consensus.approve("hash-1", None, world.by(), None)
    assert len(refused.value.reasons) == 3
    await world.submit(await world.agent("fourth"), rule(pattern="signing.key"))
    await world.consensus.approve("hash-1", None, world.by(), None)
    shown = await world.consensus.show("hash-1")
    assert "signing.key" in next(v for v in shown.variants if v.approved).rule_content


async def test_approval_never_waives_the_threshold(world: World) -> None:
    await world.submit(await world.agent("only"), rule())
    decision = await world.consensus.approve("hash-1", None, world.by(), None)
    assert (decision.status, decision.missing) == (Status.PENDING, ["2 more independent confirmations."])
    report = await world.consensus.run_cycle(world.now)
    assert report.promoted == ()
    assert await world.served() == {}
    for name in ("second", "third"):
        receipt = await world.submit(await world.agent(name), DRAFT)
    assert receipt.status is Status.CONFIRMED


async def test_approval_of_what_the_gate_refuses_is_refused_with_its_reasons(world: World) -> None:
    await world.submit(await world.agent("only"), rule(pattern="never there"))
    with pytest.raises(Refused, match="gate refuses") as refused:
        await world.consensus.approve("hash-1", None, world.by(), None)
    assert "does not fire" in refused.value.reasons[0]


async def test_approval_of_drafts_or_of_the_unknown_is_refused(world: World) -> None:
    await world.submit(await world.agent("only"), DRAFT)
    with pytest.raises(Refused, match="supply one"):
        await world.consensus.approve("hash-1", None, world.by(), None)
    with pytest.raises(UnknownProposal, match="no variant"):
        await world.consensus.approve("hash-1", "f" * 64, world.by(), None)
    with pytest.raises(UnknownProposal, match="No proposal"):
        await world.consensus.approve("hash-2", None, world.by(), None)


async def test_drafts_confirmed_by_three_become_a_rule_with_a_reviewers_text(world: World) -> None:
    for who in await world.agents(3):
        await world.submit(who, DRAFT)
    decision = await world.consensus.supply_text("hash-1", rule(), world.by(), None)
    assert decision.status is Status.CONFIRMED
    report = await world.consensus.run_cycle(world.now)
    assert report.promoted == ("hash-1",)
    assert await world.served() == {"ATR-2026-90001": "community"}
    supplied = (await world.consensus.show("hash-1")).variants[0]
    assert (supplied.supplied_by, supplied.approved, supplied.supporters) == ("rita", True, 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (rule(agent_source=False), "agent_source"),
        (rule(pattern="never there"), "does not fire"),
        (rule(pattern="("), "does not compile"),
        (rule(pattern=CATASTROPHIC, hit="a" * 40 + "!"), "time"),
    ],
)
async def test_a_supplied_text_must_pass_the_gate_or_nothing_is_kept(
    world: World, text: str, reason: str
) -> None:
    await world.submit(await world.agent("only"), DRAFT)
    with pytest.raises(UnusableText) as refused:
        await world.consensus.supply_text("hash-1", text, world.by(), None)
    assert any(reason in each for each in refused.value.reasons)
    assert len((await world.consensus.show("hash-1")).variants) == 1


async def test_a_supplied_text_takes_the_place_of_one_with_its_detection(world: World) -> None:
    await world.confirm(rule(agent_source=False))
    decision = await world.consensus.supply_text("hash-1", rule(title="Mended"), world.by(), None)
    assert decision.status is Status.CONFIRMED
    (variant,) = (await world.consensus.show("hash-1")).variants
    assert (variant.supporters, variant.supplied_by) == (3, "rita")
    assert "Mended" in variant.rule_content


async def test_rejected_is_final_until_an_admin_reopens_it(world: World) -> None:
    await world.confirm(rule(), times=2)
    await world.consensus.reject("hash-1", world.by(), "noise")
    receipts = [await world.submit(await world.agent(f"late-{i}"), rule()) for i in range(3)]
    assert {receipt.status for receipt in receipts} == {Status.REJECTED}
    await world.consensus.run_cycle(world.now)
    for act in (
        world.consensus.approve("hash-1", None, world.by(), None),
        world.consensus.supply_text("hash-1", rule(), world.by(), None),
        world.consensus.reject("hash-1", world.by(), "again"),
        world.consensus.withdraw("hash-1", world.by(), "again"),
    ):
        with pytest.raises(Refused, match="an admin can reopen it"):
            await act
    assert await world.served() == {}
    assert (await world.consensus.show("hash-1")).reason == "noise"
    decision = await world.consensus.reopen("hash-1", world.by("ada"), "it was right")
    assert (decision.status, decision.confirmations) == (Status.CONFIRMED, 5)
    assert ("ada", "proposal.reopened") in await world.audited()


async def test_withdrawal_takes_the_rule_out_at_once_and_for_good(world: World) -> None:
    await world.confirm(rule())
    await world.consensus.run_cycle(world.now)
    await world.consensus.withdraw("hash-1", world.by(), "too broad")
    assert await world.served() == {}
    assert world.changes[-1] == "hash-1 withdrawn"
    await world.submit(await world.agent("late"), rule())
    await world.consensus.run_cycle(world.now)
    assert (await world.status(), await world.served()) == ("withdrawn", {})
    held = await world.rule_of()
    assert held is not None
    assert (held.state, held.reason) == ("withdrawn", "too broad")


async def test_a_decided_proposal_keeps_the_count_that_decided(world: World) -> None:
    agents = await world.confirm(rule())
    await world.consensus.run_cycle(world.now)
    await world.revoke(agents[0])
    await world.consensus.withdraw("hash-1", world.by(), "x")
    assert (await world.consensus.show("hash-1")).confirmations == 3


async def test_a_text_that_was_replaced_while_it_was_gated_is_not_approved(world: World) -> None:
    await world.confirm(rule(), times=1)
    variant = (await world.consensus.show("hash-1")).variants[0].variant
    policy, by = world.consensus.policy, world.by()
    with pytest.raises(Refused, match="replaced"):
        await world.storage.write(
            lambda db: review.approve(db, "hash-1", variant, rule(title="Other"), by, None, policy)
        )


async def test_what_is_not_in_service_is_rejected_and_what_is_withdrawn(world: World) -> None:
    await world.confirm(rule())
    with pytest.raises(Refused, match="approve or reject it instead"):
        await world.consensus.withdraw("hash-1", world.by(), "x")
    await world.consensus.run_cycle(world.now)
    with pytest.raises(Refused, match="withdraw it"):
        await world.consensus.reject("hash-1", world.by(), "x")


async def test_a_reopened_rule_comes_back_under_its_id(world: World) -> None:
    await world.confirm(rule())
    await world.consensus.run_cycle(world.now)
    await world.consensus.withdraw("hash-1", world.by(), "x")
    await world.consensus.reopen("hash-1", world.by("ada"), "y")
    assert await world.served() == {}
    await world.consensus.run_cycle(world.now)
    assert await world.served() == {"ATR-2026-90001": "community"}
