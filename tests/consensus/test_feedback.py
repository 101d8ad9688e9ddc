"""What agents say of served rules."""

import pytest
from sqlite_utils import Database

from app.access.principal import Principal
from app.consensus.errors import UnknownRule
from app.consensus.feedback import FeedbackResult
from app.rules.store import yield_id
from tests.consensus.harness import ConsensusHarness, hold_foreign
from tests.example_rules import short_rule_text

pytestmark = pytest.mark.anyio

QUIET = FeedbackResult(quarantined=False, now=False, flagged=False)


@pytest.fixture
async def served(harness: ConsensusHarness) -> ConsensusHarness:
    await harness.confirm(short_rule_text())
    await harness.consensus.run_cycle(harness.now)
    harness.changes.clear()
    return harness


async def against(harness: ConsensusHarness, who: Principal, name: str = "ATR-2026-90001") -> FeedbackResult:
    harness.forward(seconds=1)
    return await harness.consensus.give_feedback(who, name, False, harness.now)


async def test_the_third_identity_quarantines_at_once(served: ConsensusHarness) -> None:
    first, second, third = await served.agents(3)
    assert await against(served, first) == QUIET
    assert await against(served, second, "hash-1") == QUIET
    assert await served.served() != {}
    assert await against(served, third) == FeedbackResult(quarantined=True, now=True, flagged=False)
    assert (await served.status(), await served.served()) == ("quarantined", {})
    assert served.changes == ["ATR-2026-90001 quarantined"]
    held = await served.rule_of()
    assert held is not None
    assert (held.state, held.reason) == ("quarantined", "3 independent false-positive reports")
    assert ("consensus", "proposal.quarantined") in await served.audited()


async def test_quarantine_survives_votes_cycles_and_more_reports(served: ConsensusHarness) -> None:
    for who in await served.agents(4):
        answer = await against(served, who)
    assert answer == FeedbackResult(quarantined=True, now=False, flagged=False)
    await served.submit(await served.agent("late"), short_rule_text())
    await served.consensus.run_cycle(served.now)
    assert (await served.status(), await served.served()) == ("quarantined", {})
    assert len(served.changes) == 1


async def test_one_identity_has_one_vote_and_the_latest_counts(served: ConsensusHarness) -> None:
    first, second, third = await served.agents(3)
    for _ in range(5):
        assert await against(served, first) == QUIET
    await against(served, second)
    await served.consensus.give_feedback(second, "ATR-2026-90001", True, served.now)
    assert await against(served, third) == QUIET
    (tally,) = await served.consensus.contested_rules()
    assert (tally.true_positives, tally.false_positives, tally.counted) == (1, 2, 2)


async def test_one_host_with_many_self_registered_keys_quarantines_nothing(served: ConsensusHarness) -> None:
    for number in range(5):
        who = await served.agent(
            f"self:{number}", enrolled="self", registered_from="10.6.6.6", address="10.6.6.6"
        )
        assert await against(served, who) == QUIET


async def test_revoked_keys_do_not_count(served: ConsensusHarness) -> None:
    agents = await served.agents(3)
    await against(served, agents[0])
    await served.revoke(agents[0])
    await against(served, agents[1])
    assert await against(served, agents[2]) == QUIET


async def test_an_upstream_rule_is_only_flagged_and_that_once(served: ConsensusHarness) -> None:
    await served.storage.write(lambda db: hold_foreign(db, "ATR-2026-00150"))
    answers = [await against(served, who, "ATR-2026-00150") for who in await served.agents(4)]
    assert [answer.flagged for answer in answers] == [False, False, True, True]
    assert not any(answer.quarantined for answer in answers)
    assert "ATR-2026-00150" in await served.served()
    assert [action for _, action in await served.audited()].count("rule.flagged") == 1
    assert await served.consensus.dismiss_feedback("ATR-2026-00150", served.by(), "looked into") == 4
    assert await served.consensus.contested_rules() == []


async def test_reopening_settles_old_reports(served: ConsensusHarness) -> None:
    agents = await served.agents(3)
    for who in agents:
        await against(served, who)
    await served.consensus.reopen("hash-1", served.by("ada"), "they were wrong")
    await served.consensus.run_cycle(served.now)
    assert await served.served() == {"ATR-2026-90001": "community"}
    assert await against(served, await served.agent("newcomer")) == QUIET


async def test_reports_after_a_reopening_count_anew(served: ConsensusHarness) -> None:
    agents = await served.agents(3)
    for who in agents:
        await against(served, who)
    await served.consensus.reopen("hash-1", served.by("ada"), "they were wrong")
    await served.consensus.run_cycle(served.now)
    answers = [await against(served, who) for who in agents]
    assert [answer.now for answer in answers] == [False, False, True]


async def test_votes_on_a_community_rule_do_not_stick_to_an_upstream_rule_that_takes_its_id(
    served: ConsensusHarness,
) -> None:
    first, second, third = await served.agents(3)
    await against(served, first)
    await against(served, second)

    def upstream_comes(db: Database) -> None:
        yield_id(db, "ATR-2026-90001", "2026-04-18T00:00:00.000Z")
        hold_foreign(db, "ATR-2026-90001")

    await served.storage.write(upstream_comes)
    (tally,) = await served.consensus.contested_rules()
    assert tally.rule_id.startswith("ATR-LOCAL-")
    assert await against(served, third, "ATR-2026-90001") == QUIET
    assert (await against(served, third, "hash-1")).quarantined
    assert await served.served() == {"ATR-2026-90001": "upstream:atr"}


async def test_an_unknown_rule_is_an_error(harness: ConsensusHarness) -> None:
    (who,) = await harness.agents(1)
    with pytest.raises(UnknownRule):
        await against(harness, who, "ATR-2026-77777")
