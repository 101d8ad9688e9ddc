"""The fleet in the database: the sync state of exactly the agents with a valid key, and what they report."""

from datetime import timedelta
from typing import Literal, TypedDict

import pytest
from sqlite_utils import Database

from app.access.key_activity import LastUse
from app.access.principal import Role
from app.fleet.agents import (
    FleetAgent,
    FleetPolicy,
    SelfReport,
    SyncState,
    stale_limit,
)
from app.fleet.store import (
    erase_agent,
    export_agent,
    find_agent,
    fleet_totals,
    keep_activity,
    keep_report,
    list_agents,
    purge_agents,
)
from app.http.paging import Page
from app.http.timestamps import to_text
from tests.clock import NOW
from tests.database import enrol, fresh


class Terms(TypedDict):
    """What the fleet is held against."""

    newest: int
    now: str
    limit: str


TERMS: Terms = {"newest": 7, "now": to_text(NOW), "limit": stale_limit(NOW, FleetPolicy())}
DAY = timedelta(days=1)


@pytest.fixture
def db() -> Database:
    """Agents in every situation, and keys that are no agents."""
    db = fresh()
    for key_id in ("current", "behind", "never", "quiet", "unused"):
        enrol(db, key_id, days_ago=30 if key_id != "never" else 0)
    enrol(db, "revoked", revoked=True)
    enrol(db, "expired", expires=NOW - DAY)
    enrol(db, "partner", role=Role.PARTNER)
    keep_activity(
        db,
        [
            LastUse("current", NOW, 7, NOW),
            LastUse("behind", NOW, 6, NOW - DAY),
            LastUse("quiet", NOW - 2 * DAY, 7, NOW - 2 * DAY),
            LastUse("never", NOW, None, None),
            LastUse("revoked", NOW, 7, NOW),
            LastUse("expired", NOW, 7, NOW),
            LastUse("partner", NOW, 7, NOW),
        ],
    )
    return db


def shown(db: Database) -> dict[str, FleetAgent]:
    return {agent.id: agent for agent in list_agents(db, Page(100, None), **TERMS)}


def test_only_agents_with_a_valid_key_are_shown(db: Database) -> None:
    found = {name: (agent.standing, agent.stale) for name, agent in shown(db).items()}
    assert found == {
        "current": ("current", False),
        "behind": ("behind", False),
        "never": ("never", False),
        "quiet": ("current", True),
        "unused": ("never", True),
    }
    total = fleet_totals(db, **TERMS)
    assert (total.agents, total.current, total.behind, total.never, total.stale) == (5, 2, 1, 2, 2)


@pytest.mark.parametrize("standing", ["current", "behind", "never", None])
@pytest.mark.parametrize("stale", ["yes", "no", None])
def test_filters_agree_with_what_is_shown(
    db: Database, standing: SyncState | None, stale: Literal["yes", "no"] | None
) -> None:
    agents = list_agents(db, Page(100, None), sync_state=standing, stale=stale, **TERMS)
    assert {agent.id for agent in agents} == {
        name
        for name, agent in shown(db).items()
        if standing in {None, agent.standing} and stale in {None, "yes" if agent.stale else "no"}
    }


def test_pages_show_every_agent_once(db: Database) -> None:
    seen: list[str] = []
    page = Page(2, None)
    while True:
        found = list_agents(db, page, **TERMS)
        seen += [agent.id for agent in found[:2]]
        if len(found) <= 2:
            break
        page = Page(2, (found[1].issued_at, found[1].id))
    assert sorted(seen) == sorted(shown(db))


def test_a_use_without_rules_keeps_what_was_served_before(db: Database) -> None:
    keep_activity(db, [LastUse("current", NOW + DAY, None, None)])
    agent = find_agent(db, "current", **TERMS)
    assert agent is not None
    assert (agent.serial, agent.served_at, agent.last_seen) == (7, to_text(NOW), to_text(NOW + DAY))


def test_what_a_report_does_not_mention_stays(db: Database) -> None:
    keep_report(db, "current", SelfReport(hostname="host-1", os="Linux"), to_text(NOW))
    keep_report(db, "current", SelfReport(os="Linux 6", events=5), to_text(NOW + DAY))
    agent = find_agent(db, "current", **TERMS)
    assert agent is not None
    assert (agent.hostname, agent.os, agent.events) == ("host-1", "Linux 6", 5)
    assert agent.reported_at == to_text(NOW + DAY)


def test_only_a_valid_agent_key_is_found(db: Database) -> None:
    for key_id in ("revoked", "expired", "partner", "unknown"):
        assert find_agent(db, key_id, **TERMS) is None


def test_a_subject_is_exported_and_erased_alone(db: Database) -> None:
    keep_report(db, "current", SelfReport(hostname="host-1"), to_text(NOW))
    keep_report(db, "behind", SelfReport(hostname="host-2"), to_text(NOW))
    assert "host-1" in str(export_agent(db, "agent-current"))
    assert "host-2" not in str(export_agent(db, "agent-current"))
    assert erase_agent(db, "agent-current") == 2
    assert export_agent(db, "agent-current") == []
    assert len(export_agent(db, "agent-behind")) == 2


def test_old_activity_and_reports_are_purged(db: Database) -> None:
    assert purge_agents(db, to_text(NOW - DAY)) == 1
    assert shown(db)["quiet"].last_seen is None
    assert shown(db)["current"].last_seen is not None
    assert purge_agents(db, to_text(NOW - DAY)) == 0
