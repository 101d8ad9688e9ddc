"""The promotion cycle on a real database with real sandboxes."""

from pathlib import Path

import pytest
from sqlite_utils import Database

from app.consensus.gating import GateResult, run_gate
from app.consensus.policy import ConsensusPolicy
from app.consensus.promotion import NeedsId, PromotionOutcome, next_choice, put_in_service
from app.consensus.store import due_proposals
from tests.consensus.harness import ConsensusHarness, hold_foreign, local_id
from tests.example_rules import short_rule_text

pytestmark = pytest.mark.anyio


async def test_three_confirmations_are_promoted_published_and_audited_once(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text())
    report = await harness.consensus.run_cycle(harness.now)
    assert (report.promoted, report.failed, report.waiting) == (("hash-1",), (), 0)
    assert await harness.served() == {"ATR-2026-90001": "community"}
    assert await harness.text_of("ATR-2026-90001") == short_rule_text()
    assert harness.changes == ["promotion cycle: hash-1 promoted"]
    again = await harness.consensus.run_cycle(harness.now)
    assert again.promoted == ()
    assert len(harness.changes) == 1
    assert await harness.audited() == [("consensus", "proposal.promoted")]


async def test_two_confirmations_are_not(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text(), times=2)
    report = await harness.consensus.run_cycle(harness.now)
    assert (report.promoted, report.waiting, harness.changes) == ((), 0, [])


@pytest.mark.parametrize("origin", ["upstream:atr", "local"])
async def test_a_rule_never_takes_an_id_that_another_has(harness: ConsensusHarness, origin: str) -> None:
    await harness.storage.write(lambda db: hold_foreign(db, "ATR-2026-90001", origin))
    before = await harness.text_of("ATR-2026-90001")
    await harness.confirm(short_rule_text())
    await harness.consensus.run_cycle(harness.now)
    new_id = local_id("hash-1")
    assert await harness.served() == {"ATR-2026-90001": origin, new_id: "community"}
    assert await harness.text_of("ATR-2026-90001") == before
    assert await harness.text_of(new_id) == short_rule_text(new_id)


async def test_two_proposals_with_one_id_get_two(harness: ConsensusHarness) -> None:
    for pattern_hash in ("hash-1", "hash-2"):
        await harness.confirm(short_rule_text(), pattern_hash=pattern_hash)
    await harness.consensus.run_cycle(harness.now)
    assert set(await harness.served()) == {"ATR-2026-90001", local_id("hash-2")}


async def test_a_pattern_hash_that_is_an_official_rule_id_replaces_nothing(harness: ConsensusHarness) -> None:
    await harness.storage.write(lambda db: hold_foreign(db, "ATR-2026-00150"))
    await harness.confirm(short_rule_text(), pattern_hash="ATR-2026-00150")
    await harness.consensus.run_cycle(harness.now)
    assert (await harness.served())["ATR-2026-00150"] == "upstream:atr"


async def test_a_text_that_fails_the_gate_is_kept_with_reasons_and_not_tried_again(
    harness: ConsensusHarness,
) -> None:
    await harness.confirm(short_rule_text(pattern="never there"))
    report = await harness.consensus.run_cycle(harness.now)
    assert (report.failed, report.promoted) == (("hash-1",), ())
    shown = await harness.consensus.show("hash-1")
    assert (shown.status, shown.confirmations) == ("pending", 3)
    assert shown.reason is not None
    assert shown.reason.startswith("The gate refused it: test_cases: the rule does not fire")
    assert (shown.variants[0].gate, shown.variants[0].is_rule) == ("failed", True)
    assert await harness.storage.read(due_proposals) == []
    await harness.submit(await harness.agent("late"), short_rule_text(pattern="never there"))
    assert await harness.storage.read(due_proposals) == []


async def test_another_text_with_the_same_detection_gets_its_own_chance(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text(hit="something else"))
    await harness.consensus.run_cycle(harness.now)
    await harness.submit(await harness.agent("late"), short_rule_text(title="Better test cases"))
    report = await harness.consensus.run_cycle(harness.now)
    assert report.promoted == ("hash-1",)
    assert "Better test cases" in await harness.text_of("ATR-2026-90001")


async def test_when_the_leading_text_fails_the_next_one_is_taken(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text(pattern="never there"))
    for name in ("d", "e"):
        await harness.submit(await harness.agent(name), short_rule_text())
    report = await harness.consensus.run_cycle(harness.now)
    assert (report.promoted, report.failed) == (("hash-1",), ())
    assert await harness.text_of("ATR-2026-90001") == short_rule_text()


async def test_strict_quality_asks_for_three_cases_of_each_kind(tmp_path: Path) -> None:
    async with ConsensusHarness.opened(tmp_path, ConsensusPolicy(quality="strict")) as harness:
        await harness.confirm(short_rule_text(), pattern_hash="few")
        await harness.confirm(short_rule_text(pattern="signing", cases=3), pattern_hash="many")
        report = await harness.consensus.run_cycle(harness.now)
        assert (report.failed, report.promoted) == (("few",), ("many",))


async def test_a_pattern_that_hangs_is_refused_and_the_next_proposal_goes_on(
    harness: ConsensusHarness,
) -> None:
    await harness.confirm(short_rule_text(pattern="^(a+)+$", hit="a" * 40))
    await harness.confirm(short_rule_text(), pattern_hash="hash-2")
    report = await harness.consensus.run_cycle(harness.now)
    assert (report.failed, report.promoted) == (("hash-1",), ("hash-2",))
    assert "exponential time" in (await harness.consensus.show("hash-1")).variants[0].problems[0]


async def test_a_gate_that_does_not_end_is_killed_and_counts_as_a_failure(tmp_path: Path) -> None:
    async with ConsensusHarness.opened(tmp_path, deadline=0.0) as harness:
        gated = await run_gate(harness.sandbox, short_rule_text(), "standard")
        assert gated.reasons == ("a regex or test case of it takes too long",)


async def test_keys_revoked_before_the_cycle_bring_it_back_to_pending(harness: ConsensusHarness) -> None:
    agents = await harness.confirm(short_rule_text())
    await harness.revoke(agents[0])
    report = await harness.consensus.run_cycle(harness.now)
    assert (report.returned, report.promoted) == (("hash-1",), ())
    shown = await harness.consensus.show("hash-1")
    assert (shown.status, shown.confirmations) == ("pending", 2)


async def test_keys_revoked_after_promotion_change_nothing(harness: ConsensusHarness) -> None:
    agents = await harness.confirm(short_rule_text())
    await harness.consensus.run_cycle(harness.now)
    for agent in agents:
        await harness.revoke(agent)
    await harness.consensus.run_cycle(harness.now)
    assert await harness.status() == "promoted"


async def test_canary_first_then_promoted_when_its_time_is_over(tmp_path: Path) -> None:
    async with ConsensusHarness.opened(tmp_path, ConsensusPolicy(canary_hours=24)) as harness:
        await harness.confirm(short_rule_text())
        first = await harness.consensus.run_cycle(harness.now)
        held = await harness.rule_of()
        assert (first.canaried, first.promoted, held and held.state) == (("hash-1",), (), "canary")
        harness.forward(hours=23, minutes=59)
        waiting = await harness.consensus.run_cycle(harness.now)
        assert (waiting.promoted, waiting.waiting, len(harness.changes)) == ((), 1, 1)
        harness.forward(minutes=1)
        last = await harness.consensus.run_cycle(harness.now)
        held = await harness.rule_of()
        assert (last.promoted, held and held.state, await harness.status()) == (
            ("hash-1",),
            "active",
            "promoted",
        )
        assert len(harness.changes) == 2


async def test_keys_revoked_during_canary_take_the_rule_back(tmp_path: Path) -> None:
    async with ConsensusHarness.opened(tmp_path, ConsensusPolicy(canary_hours=24)) as harness:
        agents = await harness.confirm(short_rule_text())
        await harness.consensus.run_cycle(harness.now)
        await harness.revoke(agents[0])
        report = await harness.consensus.run_cycle(harness.now)
        assert (report.returned, await harness.served(), await harness.status()) == (
            ("hash-1",),
            {},
            "pending",
        )
        await harness.submit(await harness.agent("another"), short_rule_text())
        await harness.consensus.run_cycle(harness.now)
        assert await harness.served() == {"ATR-2026-90001": "community"}


async def test_a_crash_between_gate_and_promotion_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with ConsensusHarness.opened(tmp_path) as harness:
        await harness.confirm(short_rule_text())
        policy = harness.consensus.policy
        choice = await harness.storage.read(lambda db: next_choice(db, "hash-1", policy))
        assert choice is not None
        await run_gate(harness.sandbox, choice.text, "standard")
    async with ConsensusHarness.opened(tmp_path) as harness:
        assert (await harness.consensus.run_cycle(harness.now)).promoted == ("hash-1",)
        assert await harness.served() == {"ATR-2026-90001": "community"}


async def test_what_was_decided_while_the_gate_ran_is_not_promoted(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text())
    policy = harness.consensus.policy
    choice = await harness.storage.read(lambda db: next_choice(db, "hash-1", policy))
    assert choice is not None
    gated = await run_gate(harness.sandbox, choice.text, "standard")
    await harness.consensus.reject("hash-1", harness.by(), "no")

    assert (
        await harness.storage.write(
            lambda db: put_in_service(db, "hash-1", choice, gated, harness.now, policy)
        )
        is PromotionOutcome.CHANGED
    )
    assert (await harness.status(), await harness.served()) == ("rejected", {})


async def test_an_id_taken_while_the_gate_ran_is_not_taken_twice(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text())
    policy = harness.consensus.policy
    choice = await harness.storage.read(lambda db: next_choice(db, "hash-1", policy))
    assert choice is not None
    gated = await run_gate(harness.sandbox, choice.text, "standard")
    await harness.storage.write(lambda db: hold_foreign(db, "ATR-2026-90001"))
    landed = await harness.storage.write(
        lambda db: put_in_service(db, "hash-1", choice, gated, harness.now, policy)
    )
    assert landed == NeedsId(local_id("hash-1"))
    assert await harness.served() == {"ATR-2026-90001": "upstream:atr"}


async def test_an_approval_ends_when_the_text_fails_the_gate_after_all(harness: ConsensusHarness) -> None:
    await harness.confirm(short_rule_text(), times=1)
    await harness.confirm(short_rule_text(pattern="signing.key"), times=1)
    await harness.confirm(short_rule_text(pattern="the signing"), times=1)
    variant = (await harness.consensus.show("hash-1")).variants[0].variant
    await harness.consensus.approve("hash-1", variant, harness.by(), None)
    policy = harness.consensus.policy
    choice = await harness.storage.read(lambda db: next_choice(db, "hash-1", policy))
    assert choice is not None
    failed = GateResult(choice.text, reasons=("takes too long",))
    landed = await harness.storage.write(
        lambda db: put_in_service(db, "hash-1", choice, failed, harness.now, policy)
    )
    shown = await harness.consensus.show("hash-1")
    assert (landed, shown.status, shown.approved_variant) == (PromotionOutcome.FAILED, "pending", None)


async def test_a_proposal_keeps_its_rule_id_when_another_of_its_texts_is_promoted(
    harness: ConsensusHarness,
) -> None:
    await harness.confirm(short_rule_text("ATR-2026-90001"))
    await harness.consensus.run_cycle(harness.now)
    await harness.consensus.withdraw("hash-1", harness.by(), "too broad")
    await harness.consensus.reopen("hash-1", harness.by("ada"), "with a better text")
    better = short_rule_text("ATR-2026-90002", pattern="the signing key")
    await harness.consensus.supply_text("hash-1", better, harness.by(), None)
    await harness.consensus.run_cycle(harness.now)
    assert await harness.served() == {"ATR-2026-90001": "community"}
    assert "the signing key'" in await harness.text_of("ATR-2026-90001")


async def test_looking_for_work_costs_the_same_however_much_is_pending(harness: ConsensusHarness) -> None:
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

    await harness.confirm(short_rule_text())
    await harness.storage.write(lambda db: fill(db, 10))
    few = await harness.storage.read(steps)
    await harness.storage.write(lambda db: fill(db, 5000))
    assert await harness.storage.read(steps) == few
