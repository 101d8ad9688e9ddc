"""Export and erasure of one client."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from app.consensus.parsing import ParsedRule
from app.consensus.submission import Submission, record
from app.consensus.votes import Voter
from app.http.timestamps import to_text
from app.intel.personal_data import all_personal_data
from tests.clock import NOW
from tests.intel.harness import ADMIN, EVIL, NOTHING_LISTED, POLICY, IntelHarness


@pytest.fixture
async def intel(tmp_path: Path) -> AsyncIterator[IntelHarness]:
    async with IntelHarness.opened(tmp_path) as harness:
        yield harness


def propose(db: Database, subject: str, pattern_hash: str) -> None:
    voter = Voter(subject, "admin", None, "10.0.0.1", None, live=True)
    sent = Submission(
        pattern_hash, "text", ParsedRule("variant", ()), voter, f"key-{subject}", "10.0.0.1", None, "o", "m", "v"
    )  # fmt: skip
    record(db, sent, to_text(NOW), POLICY)


async def classes_of(intel: IntelHarness, subject: str) -> set[str]:
    exported = await intel.subjects.export(subject, ADMIN)
    return set() if exported is None else set(exported.data)


@pytest.mark.anyio
async def test_everything_tied_to_one_client_is_exported_and_erased(intel: IntelHarness) -> None:
    agents = await intel.agents(3)
    for who in agents:
        await intel.report_all(who)
        await intel.storage.write(lambda db, who=who: propose(db, str(who.subject), "hash-1"))  # type: ignore[misc]
    exported = await intel.subjects.export("agent-1", ADMIN)
    assert exported is not None
    found = exported.data
    classes = {"keys", "confirmations", "threats", "sealed", "skillThreats", "skillVotes", "indicatorReports"}
    assert set(found) == classes
    assert exported.rows == dict.fromkeys(classes, 1)
    assert all(len(rows) == 1 for rows in found.values())
    assert EVIL not in json.dumps(found)
    assert {row["subject"] for rows in found.values() for row in rows} == {"agent-1"}
    done = await intel.subjects.erase("agent-1", ADMIN)
    assert done is not None
    assert done.erased == dict.fromkeys(classes - {"keys"}, 1)
    assert done.kept["keys"] == 1
    assert await classes_of(intel, "agent-1") == {"keys"}
    for name in ("agent-0", "agent-2"):
        assert await classes_of(intel, name) == classes
    assert await intel.listed() == NOTHING_LISTED
    status, confirmations = await intel.storage.read(
        lambda db: db.conn.execute("SELECT status, confirmations FROM proposal").fetchone()
    )
    assert (status, confirmations) == ("pending", 2)
    (action, target, detail) = await intel.storage.read(
        lambda db: db.conn.execute(
            "SELECT action, target, detail FROM audit WHERE action != 'subject.export' ORDER BY id DESC"
        ).fetchone()
    )
    assert (action, target) == ("subject.erase", "agent-1")
    assert json.loads(detail)["erased"] == done.erased


@pytest.mark.anyio
async def test_every_table_with_a_subject_is_exported(intel: IntelHarness) -> None:
    """A table that a later migration adds must be exported and erased too."""
    tables = await intel.storage.read(
        lambda db: {
            table for (table,) in db.conn.execute(
                "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
                " WHERE m.type = 'table' AND c.name = 'subject'"
            )
        }
    )  # fmt: skip
    other_names = {
        "key": "keys",
        "confirmation": "confirmations",
        "threat": "threats",
        "skill_threat": "skillThreats",
        "skill_trust": "skillVotes",
        "indicator_report": "indicatorReports",
        "skill_version": "skillVersions",
    }
    exported = await intel.storage.read(
        lambda db: {name for data in all_personal_data(POLICY) for name in data.export(db, "nobody")}
    )
    assert {other_names.get(table, table) for table in tables} == exported - {"fleet"} | {"keys"}
