"""What is remembered of keys in memory: the last use and the last serial, once each, until it is taken."""

from datetime import UTC, datetime, timedelta

import pytest

from app.access.gatekeeper import Gatekeeper
from app.access.key_activity import Sighting, Sightings
from app.access.principal import Role
from app.http.problem import Problem

from .conftest import START

T = datetime(2026, 4, 17, tzinfo=UTC)


def test_the_last_word_on_each_key_is_taken_once() -> None:
    sightings = Sightings()
    sightings.seen("a", T)
    sightings.served("a", 1, T)
    sightings.seen("b", T)
    sightings.seen("a", T + timedelta(seconds=5))
    sightings.served("a", 2, T + timedelta(seconds=5))
    later = T + timedelta(seconds=5)
    assert sightings.flush() == [Sighting("a", later, 2, later), Sighting("b", T, None, None)]
    assert sightings.flush() == []


def test_who_has_no_key_is_not_remembered() -> None:
    sightings = Sightings()
    sightings.served("", 7, T)
    assert sightings.flush() == []


@pytest.mark.anyio
async def test_every_use_of_a_valid_key_is_seen_and_no_other(gatekeeper: Gatekeeper) -> None:
    record, token = await gatekeeper.issue(
        role=Role.AGENT, subject="a", expires=None, site=None, actor="test", now=START
    )
    for second in (1, 2):
        await gatekeeper.authenticate(
            {"authorization": f"Bearer {token}"}, "10.0.0.1", START + timedelta(seconds=second)
        )
    await gatekeeper.authenticate({}, "10.0.0.1", START)
    (sighting,) = gatekeeper.sightings.flush()
    assert (sighting.key_id, sighting.seen_at) == (record.id, START + timedelta(seconds=2))
    await gatekeeper.revoke(record.id, START, actor="test")
    with pytest.raises(Problem):
        await gatekeeper.authenticate({"authorization": f"Bearer {token}"}, "10.0.0.1", START)
    assert gatekeeper.sightings.flush() == []
