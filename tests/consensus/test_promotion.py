"""The promotion cycle on a real database with real sandboxes."""

from pathlib import Path

import pytest
from sqlite_utils import Database

from app.consensus.gating import GateResult, run_gate
from app.consensus.policy import ConsensusPolicy
from app.consensus.promotion import NeedsId, PromotionOutcome, next_choice, put_in_service
from app.consensus.store import due_proposals

from .world import World, hold_foreign, local_id, opened, rule

pytestmark = pytest.mark.anyio


async def test_three_confirmations_are_promoted_published_and_audited_once(world: World) -> None:
    await world.confirm(rule())
    report = await world.consensus.run_cycle(world.now)
    assert (report.promoted, report.failed, report.waiting) == (("hash-1",), (), 0)
    assert await world.served() == {"ATR-2026-90001": "community"}
    assert await world.text_of("ATR-2026-90001") == rule()
    assert world.changes == ["promotion cycle: hash-1 promoted"]
    again = await world.consensus.run_cycle(world.now)
    assert again.promoted == ()
    assert len(world.changes) == 1
    assert await world.audited() == [("consensus", "proposal.promoted")]


async def test_two_confirmations_are_not(world: World) -> None:
    await world.confirm(rule(), times=2)
    report = await world.consensus.run_cycle(world.now)
    assert (report.promoted, report.waiting, world.changes) == ((), 0, [])


@pytest.mark.parametrize("origin", ["upstream:atr", "local"])
async def test_a_rule_never_takes_an_id_that_another_has(world: World, origin: str) -> None:
    await world.storage.write(lambda db: hold_foreign(db, "ATR-2026-90001", origin))
    before = await world.text_of("ATR-2026-90001")
    await world.confirm(rule())
    await world.consensus.run_cycle(world.now)
    new_id = local_id("hash-1")
    assert await world.served() == {"ATR-2026-90001": origin, new_id: "community"}
    assert await world.text_of("ATR-2026-90001") == before
    assert await world.text_of(new_id) == rule(new_id)


async def test_two_proposals_with_one_id_get_two(world: World) -> None:
    for pattern_hash in ("hash-1", "hash-2"):
        await world.confirm(rule(), pattern_hash=pattern_hash)
    await world.consensus.run_cycle(world.now)
    assert set(await world.served()) == {"ATR-2026-90001", local_id("hash-2")}


async def test_a_pattern_hash_that_is_an_official_rule_id_replaces_nothing(world: World) -> None:
    await world.storage.write(lambda db: hold_foreign(db, "ATR-2026-00150"))
    await world.confirm(rule(), pattern_hash="ATR-2026-00150")
    await world.consensus.run_cycle(world.now)
    assert (await world.served())["ATR-2026-00150"] == "upstream:atr"


async def test_a_text_that_fails_the_gate_is_kept_with_reasons_and_not_tried_again(world: World) -> None:
    await world.confirm(rule(pattern="never there"))
    report = await world.consensus.run_cycle(world.now)
    assert (report.failed, report.promoted) == (("hash-1",), ())
    shown = await world.consensus.show("hash-1")
    assert (shown.status, shown.confirmations) == ("pending", 3)
    assert shown.reason is not None
    assert shown.reason.startswith("The gate refused it: test_cases: the rule does not fire")
    assert (shown.variants[0].gate, shown.variants[0].is_rule) == ("failed", True)
    assert await world.storage.read(due_proposals) == []
    await world.submit(await world.agent("late"), rule(pattern="never there"))
    assert await world.storage.read(due_proposals) == []


async def test_another_text_with_the_same_detection_gets_its_own_chance(world: World) -> None:
    await world.confirm(rule(hit="something else"))
    await world.consensus.run_cycle(world.now)
    await world.submit(await world.agent("late"), rule(title="Better test cases"))
    report = await world.consensus.run_cycle(world.now)
    assert report.promoted == ("hash-1",)
    assert "Better test cases" in await world.text_of("ATR-2026-90001")


async def test_when_the_leading_text_fails_the_next_one_is_taken(world: World) -> None:
    await world.confirm(rule(pattern="never there"))
    for name in ("d", "e"):
        await world.submit(await world.agent(name), rule())
    report = await world.consensus.run_cycle(world.now)
    assert (report.promoted, report.failed) == (("hash-1",), ())
    assert await world.text_of("ATR-2026-90001") == rule()


async def test_strict_quality_asks_for_three_cases_of_each_kind(tmp_path: Path) -> None:
    async with opened(tmp_path, ConsensusPolicy(quality="strict")) as world:
        await world.confirm(rule(), pattern_hash="few")
        await world.confirm(rule(pattern="signing", cases=3), pattern_hash="many")
        report = await world.consensus.run_cycle(world.now)
        assert (report.failed, report.promoted) == (("few",), ("many",))


async def test_a_pattern_that_hangs_is_refused_and_the_next_proposal_goes_on(world: World) -> None:
    await world.confirm(rule(pattern="^(a+)+$", hit="a" * 40))
    await world.confirm(rule(), pattern_hash="hash-2")
    report = await world.consensus.run_cycle(world.now)
    assert (report.failed, report.promoted) == (("hash-1",), ("hash-2",))
    assert "exponential time" in (await world.consensus.show("hash-1")).variants[0].problems[0]


async def test_a_gate_that_does_not_end_is_killed_and_counts_as_a_failure(tmp_path: Path) -> None:
    async with opened(tmp_path, deadline=0.0) as world:
        gated = await run_gate(world.sandbox, rule(), "standard")
        assert gated.reasons == ("a regex or test case of it takes too long",)


async def test_keys_revoked_before_the_cycle_bring_it_back_to_pending(world: World) -> None:
    agents = await world.confirm(rule())
    await world.revoke(agents[0])
    report = await world.consensus.run_cycle(world.now)
    assert (report.returned, report.promoted) == (("hash-1",), ())
    shown = await world.consensus.show("hash-1")
    assert (shown.status, shown.confirmations) == ("pending", 2)


async def test_keys_revoked_after_promotion_change_nothing(world: World) -> None:
    agents = await world.confirm(rule())
    await world.consensus.run_cycle(world.now)
    for agent in agents:
        await world.revoke(agent)
    await world.consensus.run_cycle(world.now)
    assert await world.status() == "promoted"


async def test_canary_first_then_promoted_when_its_time_is_over(tmp_path: Path) -> None:
    async with opened(tmp_path, ConsensusPolicy(canary_hours=24)) as world:
        await world.confirm(rule())
        first = await world.consensus.run_cycle(world.now)
        held = await world.rule_of()
        assert (first.canaried, first.promoted, held and held.state) == (("hash-1",), (), "canary")
        world.forward(hours=23, minutes=59)
        waiting = await world.consensus.run_cycle(world.now)
        assert (waiting.promoted, waiting.waiting, len(world.changes)) == ((), 1, 1)
        world.forward(minutes=1)
        last = await world.consensus.run_cycle(world.now)
        held = await world.rule_of()
        assert (last.promoted, held and held.state, await world.status()) == (
            ("hash-1",),
            "active",
            "promoted",
        )
        assert len(world.changes) == 2


async def test_keys_revoked_during_canary_take_the_rule_back(tmp_path: Path) -> None:
    async with opened(tmp_path, ConsensusPolicy(canary_hours=24)) as world:
        agents = await world.confirm(rule())
        await world.consensus.run_cycle(world.now)
        await world.revoke(agents[0])
        report = await world.consensus.run_cycle(world.now)
        assert (report.returned, await world.served(), await world.status()) == (("hash-1",), {}, "pending")
        await world.submit(await world.agent("another"), rule())
        await world.consensus.run_cycle(world.now)
        assert await world.served() == {"ATR-2026-90001": "community"}


async def test_a_crash_between_gate_and_promotion_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.confirm(rule())
        policy = world.consensus.policy
        choice = await world.storage.read(lambda db: next_choice(db, "hash-1", policy))
        assert choice is not None
        await run_gate(world.sandbox, choice.text, "standard")
    async with opened(tmp_path) as world:
        assert (await world.consensus.run_cycle(world.now)).promoted == ("hash-1",)
        assert await world.served() == {"ATR-2026-90001": "community"}


async def test_what_was_decided_while_the_gate_ran_is_not_promoted(world: World) -> None:
    await world.confirm(rule())
    policy = world.consensus.policy
    choice = await world.storage.read(lambda db: next_choice(db, "hash-1", policy))
    assert choice is not None
    gated = await run_gate(world.sandbox, choice.text, "standard")
    await world.consensus.reject("hash-1", world.by(), "no")

    assert (
        await world.storage.write(lambda db: put_in_service(db, "hash-1", choice, gated, world.now, policy))
        is PromotionOutcome.CHANGED
    )
    assert (await world.status(), await world.served()) == ("rejected", {})


async def test_an_id_taken_while_the_gate_ran_is_not_taken_twice(world: World) -> None:
    await world.confirm(rule())
    policy = world.consensus.policy
    choice = await world.storage.read(lambda db: next_choice(db, "hash-1", policy))
    assert choice is not None
    gated = await run_gate(world.sandbox, choice.text, "standard")
    await world.storage.write(lambda db: hold_foreign(db, "ATR-2026-90001"))
    landed = await world.storage.write(
        lambda db: put_in_service(db, "hash-1", choice, gated, world.now, policy)
    )
    assert landed == NeedsId(local_id("hash-1"))
    assert await world.served() == {"ATR-2026-90001": "upstream:atr"}


async def test_an_approval_ends_when_the_text_fails_the_gate_after_all(world: World) -> None:
    await world.confirm(rule(), times=1)
    await world.confirm(rule(pattern="signing.key"), times=1)
    await world.confirm(rule(pattern="the signing"), times=1)
    variant = (await world.consensus.show("hash-1")).variants[0].variant
    await world.consensus.approve("hash-1", variant, world.by(), None)
    policy = world.consensus.policy
    choice = await world.storage.read(lambda db: next_choice(db, "hash-1", policy))
    assert choice is not None
    failed = GateResult(choice.text, reasons=("takes too long",))
    landed = await world.storage.write(
        lambda db: put_in_service(db, "hash-1", choice, failed, world.now, policy)
    )
    shown = await world.consensus.show("hash-1")
    assert (landed, shown.status, shown.approved_variant) == (PromotionOutcome.FAILED, "pending", None)


async def test_a_proposal_keeps_its_rule_id_when_another_of_its_texts_is_promoted(world: World) -> None:
    await world.confirm(rule("ATR-2026-90001"))
    await world.consensus.run_cycle(world.now)
    await world.consensus.withdraw("hash-1", world.by(), "too broad")
    await world.consensus.reopen("hash-1", world.by("ada"), "with a better text")
    better = rule("ATR-2026-90002", pattern="the signing key")
    await world.consensus.supply_text("hash-1", better, world.by(), None)
    await world.consensus.run_cycle(world.now)
    assert await world.served() == {"ATR-2026-90001": "community"}
    assert "the signing key'" in await world.text_of("ATR-2026-90001")


async def test_looking_for_work_costs_the_same_however_much_is_pending(world: World) -> None:
    def fill(db: Database, number: int) -> None:
        db.conn.executemany(
            "INSERT INTO proposal (pattern_hash, status, confirmations, first_seen, changed_at)"
            " VALUES (?, 'pending', 2, '', '')",
            [(f"pending-{number}-{i}",) for i in range(number)],
        )

    def steps(db: Database) -> int:
        taken = 0

        def step() -> None:
            nonlocal taken
            taken += 1

        db.conn.set_progress_handler(step, 1)
        assert due_proposals(db) == [("hash-1", "confirmed")]
        db.conn.set_progress_handler(None, 0)
        return taken

    await world.confirm(rule())
    await world.storage.write(lambda db: fill(db, 10))
    few = await world.storage.read(steps)
    await world.storage.write(lambda db: fill(db, 5000))
    assert await world.storage.read(steps) == few
