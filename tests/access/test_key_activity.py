"""What is remembered of keys in memory: the last use and the last serial, once each, until it is taken."""

from datetime import UTC, datetime, timedelta

import pytest

from app.access.gatekeeper import Gatekeeper
from app.access.key_activity import KeyActivity, LastUse
from app.access.principal import Role
from app.http.problem import Problem
from tests.clock import NOW

T = datetime(2026, 4, 17, tzinfo=UTC)


def test_the_last_use_of_each_key_is_flushed_once() -> None:
    activity = KeyActivity()
    activity.seen("a", T)
    activity.served("a", 1, T)
    activity.seen("b", T)
    activity.seen("a", T + timedelta(seconds=5))
    activity.served("a", 2, T + timedelta(seconds=5))
    later = T + timedelta(seconds=5)
    assert activity.flush() == [LastUse("a", later, 2, later), LastUse("b", T, None, None)]
    assert activity.flush() == []


def test_who_has_no_key_is_not_remembered() -> None:
    activity = KeyActivity()
    activity.served("", 7, T)
    assert activity.flush() == []


@pytest.mark.anyio
async def test_every_use_of_a_valid_key_is_seen_and_no_other(gatekeeper: Gatekeeper) -> None:
    record, token = await gatekeeper.issue(
        role=Role.AGENT, subject="a", expires=None, site=None, actor="test", now=NOW
    )
    for second in (1, 2):
        await gatekeeper.authenticate(
            {"authorization": f"Bearer {token}"}, "10.0.0.1", NOW + timedelta(seconds=second)
        )
    await gatekeeper.authenticate({}, "10.0.0.1", NOW)
    (last_use,) = gatekeeper.activity.flush()
    assert (last_use.key_id, last_use.seen_at) == (record.id, NOW + timedelta(seconds=2))
    await gatekeeper.revoke(record.id, NOW, actor="test")
    with pytest.raises(Problem):
        await gatekeeper.authenticate({"authorization": f"Bearer {token}"}, "10.0.0.1", NOW)
    assert gatekeeper.activity.flush() == []
