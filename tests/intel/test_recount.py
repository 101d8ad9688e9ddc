"""Recounts: after a key was revoked, after other terms, and by the job where many report the same."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlite_utils import Database

from app.access.key_store import revoke_key
from app.consensus.policy import ConsensusPolicy
from app.http.timestamps import to_text
from app.intel.recount import recount
from app.intel.reporter import Reporter
from app.intel.skills.recount import NAMES_A_CALL
from app.intel.skills.store import NewVote
from app.intel.skills.verdict_store import count_skill, is_still_there
from app.sandbox import SandboxError
from tests.clock import NOW
from tests.database import enrol
from tests.intel.harness import ADMIN, ALL_LISTED, NOTHING_LISTED, POLICY, IntelHarness


@pytest.fixture
async def intel(tmp_path: Path) -> AsyncIterator[IntelHarness]:
    async with IntelHarness.opened(tmp_path) as harness:
        yield harness


@pytest.mark.anyio
async def test_a_revoked_key_counts_no_more_after_the_next_recount(intel: IntelHarness) -> None:
    for who in await intel.agents(3):
        await intel.report_all(who)
    await recount(intel.storage, intel.votes, POLICY, NOW)
    assert await recount(intel.storage, intel.votes, POLICY, NOW) == 0
    assert await intel.listed() == ALL_LISTED
    await intel.storage.write(lambda db: revoke_key(db, "key-agent-2", NOW + timedelta(minutes=1)))
    assert await recount(intel.storage, intel.votes, POLICY, NOW + timedelta(minutes=2)) == 3
    assert await intel.listed() == NOTHING_LISTED
    assert await intel.rows("indicator") == 0


@pytest.mark.anyio
async def test_a_second_key_keeps_an_identity_alive(intel: IntelHarness) -> None:
    for who in await intel.agents(3):
        await intel.report_all(who)
    await intel.storage.write(lambda db: enrol(db, "second", subject="agent-2"))
    await recount(intel.storage, intel.votes, POLICY, NOW)
    await intel.storage.write(lambda db: revoke_key(db, "key-agent-2", NOW + timedelta(minutes=1)))
    assert await recount(intel.storage, intel.votes, POLICY, NOW + timedelta(minutes=2)) == 0
    assert await intel.listed() == ALL_LISTED


@pytest.mark.anyio
async def test_other_terms_of_independence_count_everything_again(intel: IntelHarness) -> None:
    for who in await intel.agents(3):
        await intel.report_all(who)
    await recount(intel.storage, intel.votes, POLICY, NOW)
    assert await recount(intel.storage, intel.votes, ConsensusPolicy(admin_issued="address"), NOW) == 3
    assert await intel.listed() == NOTHING_LISTED
    assert await recount(intel.storage, intel.votes, POLICY, NOW) == 2
    assert (await intel.listed())[:2] == ALL_LISTED[:2]
    assert await intel.rows("indicator") == 0, (
        "its address is not known any more until somebody reports it again"
    )
    for who in await intel.agents(0) or [Reporter("agent-0", "key-agent-0", "10.0.0.1", None)]:
        await intel.report_all(who, NOW + timedelta(hours=1))
    assert await intel.listed() == ALL_LISTED


@pytest.mark.anyio
async def test_where_many_speak_a_job_counts(intel: IntelHarness) -> None:
    """A crowd that is one identity cannot keep the votes of three others from being counted."""

    def crowd(db: Database) -> None:
        for n in range(150):
            enrol(db, f"key-self:{n}", subject=f"self:{n}", enrolled="self", address="10.9.9.9")

    await intel.storage.write(crowd)
    for n in range(150):
        await intel.report_all(Reporter(f"self:{n}", f"key-self:{n}", "10.9.9.9", None))
    await intel.recount_due(NOW)
    assert await intel.listed() == NOTHING_LISTED
    for who in (await intel.agents(3))[:2]:
        await intel.report_all(who)
    await intel.recount_due(NOW)
    assert await intel.listed() == ALL_LISTED
    assert (await intel.skills.known.current())[0].risk.reporters == 3


@pytest.mark.anyio
async def test_what_could_not_be_counted_is_counted_next_time(intel: IntelHarness) -> None:
    for who in await intel.agents(12):
        await intel.skills.vote([NewVote("good", "good", "f" * 64)], who, NOW)
    await intel.sandbox.close()
    intel.sandbox.memory_mib = 1
    with pytest.raises(SandboxError):
        await intel.recount_due(NOW)
    await intel.sandbox.close()
    intel.sandbox.memory_mib = 1024
    assert (await intel.skills.known.current())[0].confirmations < 12
    await intel.recount_due(NOW)
    intel.invalidate()
    assert (await intel.skills.known.current())[0].confirmations == 12


@pytest.mark.anyio
async def test_more_skills_than_are_counted_in_one_call(intel: IntelHarness) -> None:
    names = [f"skill-{n}" for n in range(NAMES_A_CALL + 1)]
    votes = [NewVote(name, name, None) for name in names]
    for who in await intel.agents(3):
        await intel.skills.vote(votes, who, NOW)
    await intel.storage.write(lambda db: db.conn.execute("DELETE FROM skill_standing"))
    assert await intel.votes.count(names, POLICY, to_text(NOW)) == len(names)
    assert await intel.votes.count(names, POLICY, to_text(NOW)) == 0


@pytest.mark.anyio
async def test_a_count_is_dropped_when_what_it_rests_on_was_deleted_meanwhile(intel: IntelHarness) -> None:
    *early, late = await intel.agents(4)
    for who in early:
        await intel.report_all(who)
    counted = await intel.storage.read(lambda db: count_skill(db, "evil", POLICY))
    assert await intel.storage.read(lambda db: is_still_there(db, counted))
    await intel.report_all(late)
    assert await intel.storage.read(lambda db: is_still_there(db, counted)), (
        "what comes later is counted later"
    )
    await intel.skills.forget("black", ["evil"], ADMIN)
    assert not await intel.storage.read(lambda db: is_still_there(db, counted))
