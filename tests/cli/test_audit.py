"""`threatcloud audit`: the list, and what the check of the chain finds."""

import json
import sqlite3

import pytest

from tests.server import Server


def tamper(server: Server, *statements: str) -> None:
    """Write to the audit table as somebody with the file in their hands can."""
    db = sqlite3.connect(server.state_dir / "threatcloud.db")
    for trigger in ("audit_is_append_only_update", "audit_is_append_only_delete"):
        db.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


@pytest.mark.parametrize(
    ("statement", "broken_at", "why"),
    [
        ("UPDATE audit SET actor = 'nobody' WHERE id = 2", 2, "changed after it was written"),
        ("DELETE FROM audit WHERE id = 2", 3, "entry 2 is missing"),
        ("UPDATE audit SET hash = previous WHERE id = 1", 1, "changed after it was written"),
    ],
)
def test_verify_finds_what_was_tampered_with(
    stopped: Server, statement: str, broken_at: int, why: str
) -> None:
    assert stopped.cli_json("audit", "verify")["brokenAt"] is None
    tamper(stopped, statement)
    done = stopped.cli("audit", "verify", "--json", check=False)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["brokenAt"] == broken_at
    assert why in report["why"]
    said = stopped.cli("audit", "verify", check=False)
    assert said.returncode == 1
    assert f"broken at entry {broken_at}" in said.stdout


def test_the_audit_list_can_be_narrowed(server: Server) -> None:
    for subject in ("one", "two", "three"):
        server.issue("agent", subject)
    entries = server.cli_json("audit", "list", "--action", "key.issue", "--limit", "2")
    assert 0 < len(entries) <= 2
    assert {entry["action"] for entry in entries} == {"key.issue"}
    assert server.cli_json("audit", "list", "--since", "2099-01-01T00:00:00Z") == []
    assert "since: " in server.cli("audit", "list", "--since", "monday", check=False).stderr
