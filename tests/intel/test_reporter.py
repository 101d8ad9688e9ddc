"""Who sent a report."""

from dataclasses import replace
from typing import Any

from app.access.principal import Principal, Role
from app.intel.reporter import reporter_of
from tests.intel.harness import NAMES


def test_an_anonymous_sender_has_no_subject() -> None:
    nobody = Principal(
        key_id="", role=None, subject="anonymous", enrolled="self", registered_from=None, site=None,
        address="10.0.0.1",
    )  # fmt: skip
    who = reporter_of(nobody, "client", NAMES)
    assert (who.subject, who.client) == (None, NAMES.of("client", "client"))
    agent: Any = Principal(
        key_id="k", role=Role.AGENT, subject="a", enrolled="self", registered_from="10.0.0.1", site=None,
        address="10.0.0.1",
    )  # fmt: skip
    assert reporter_of(agent, None, NAMES) == replace(who, subject="a", key_id="k", client=None)
