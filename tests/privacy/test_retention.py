"""What is old is deleted, and the lists follow."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.intel.personal_data import all_personal_data
from app.intel.reports.events import Cleaner, GuardEvent
from app.intel.reports.service import ReceivedEvents
from app.privacy.policy import RetentionPolicy
from tests.clock import NOW
from tests.intel.harness import ADMIN, ALL_LISTED, NAMES, NOTHING_LISTED, POLICY, IntelHarness


@pytest.fixture
async def intel(tmp_path: Path) -> AsyncIterator[IntelHarness]:
    async with IntelHarness.opened(tmp_path) as harness:
        yield harness


@pytest.mark.anyio
async def test_old_data_goes_and_lists_follow(intel: IntelHarness) -> None:
    for who in await intel.agents(3):
        await intel.report_all(who)
    assert await intel.listed() == ALL_LISTED
    later = NOW + timedelta(days=89)
    gone = await intel.retention.purge(later)
    assert gone == {"sealed": 3}
    assert await intel.listed() == ALL_LISTED
    later = NOW + timedelta(days=91)
    gone = await intel.retention.purge(later)
    assert gone == {"indicators": 3, "threats": 3, "skillThreats": 3, "skillVotes": 3}
    assert await intel.listed() == NOTHING_LISTED
    assert await intel.rows("indicator") == 0
    assert await intel.rows("report_tally") > 0
    assert await intel.retention.purge(later) == {}
    entries = await intel.storage.read(
        lambda db: db.conn.execute(
            "SELECT actor, detail FROM audit WHERE action = 'retention.purge' ORDER BY id"
        ).fetchall()
    )
    assert [(actor, json.loads(detail)) for actor, detail in entries] == [
        ("retention", {"sealed": 3}),
        ("retention", {"indicators": 3, "threats": 3, "skillThreats": 3, "skillVotes": 3}),
    ]


@pytest.mark.anyio
async def test_what_is_reported_again_stays(intel: IntelHarness) -> None:
    agents = await intel.agents(3)
    for who in agents:
        await intel.report_all(who)
    for who in agents[:2]:
        await intel.report_all(who, NOW + timedelta(days=60))
    await intel.retention.purge(NOW + timedelta(days=100))
    assert await intel.rows("skill_threat") == 2
    assert await intel.rows("skill_trust") == 2
    assert await intel.rows("indicator_report") == 2
    assert await intel.listed() == NOTHING_LISTED


@pytest.mark.anyio
async def test_an_admins_entries_do_not_age(intel: IntelHarness) -> None:
    await intel.skills.put("black", [("blocked", None)], ADMIN, None)
    await intel.skills.put("white", [("trusted", None)], ADMIN, None)
    await intel.indicators.put(
        "ip", "91.92.240.5", reputation=100, category="manual", reason=None, actor=ADMIN
    )
    await intel.retention.purge(NOW + timedelta(days=4000))
    assert await intel.listed() == (["blocked"], ["trusted"], ["91.92.240.5"])


@pytest.mark.anyio
async def test_many_old_rows_go_in_several_batches(intel: IntelHarness) -> None:
    (who,) = await intel.agents(1)
    threats = [Cleaner(NAMES, NOW).event(GuardEvent(attack_type="c2"))] * 5000
    await intel.reports.keep("threats", ReceivedEvents(threats), who, NOW)
    gone = await intel.retention.purge(NOW + timedelta(days=91))
    assert gone["threats"] == 5000


def test_every_class_of_data_has_its_days() -> None:
    policy = RetentionPolicy()
    expiries = [expiry for data in all_personal_data(POLICY) for expiry in data.expiries]
    assert all(expiry.days(policy) >= 1 for expiry in expiries)
    assert len({expiry.name for expiry in expiries}) == len(expiries) == 9
    assert policy.indicators_days == 90
