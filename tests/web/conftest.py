"""One empty instance for each module, with limits that no test meets by accident."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.server import Server
from tests.web.answers import defects

UNLIMITED: dict[str, Any] = {
    "limits_agent_per_minute": 1_000_000,
    "limits_partner_per_minute": 1_000_000,
    "limits_reviewer_per_minute": 1_000_000,
    "limits_admin_per_minute": 1_000_000,
    "limits_anonymous_per_minute": 1_000_000,
    "limits_failed_per_minute": 1_000_000,
    "limits_live_burst": 10_000,
    "access_registrations_per_hour": 100_000,
    "access_anonymous_report": "closed",
    "consensus_cycle_seconds": 86_400,
}


def pytest_configure(config: pytest.Config) -> None:
    """`pytest -m "not slow"` leaves out what waits for a real deadline."""
    config.addinivalue_line("markers", "slow: waits for a real deadline of ten seconds or more")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running instance whose promotion cycle runs only when a test asks for it; its log is looked through."""
    with Server(tmp_path_factory.mktemp("instance"), **UNLIMITED) as running:
        yield running
        assert defects(running) == []
