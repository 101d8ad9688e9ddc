"""What `doctor` finds about upstreams, held changes, the overlay and a rollback, and the command that mends it."""

import json
import sqlite3
from pathlib import Path

import msgspec
import pytest

from app.config import load_config
from app.doctor.checks import Finding, check_upstream_files
from app.doctor.report import diagnose
from app.federation.upstream import Upstream
from tests.example_rules import rule_text
from tests.server import Server

RULES = [f"ATR-2026-{96_000 + number}" for number in range(10)]
LONG_AGO = "2026-01-02T00:00:00.000Z"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    for rule_id in RULES:
        (folder / f"{rule_id}.yaml").write_text(rule_text(rule_id))
    return folder


@pytest.fixture
def instance(folder: Path, tmp_path: Path) -> Server:
    """One that never runs a server: its verbs open the state folder themselves."""
    config = f'[[upstream]]\nname = "atr"\nkind = "directory"\npath = {json.dumps(str(folder))}\n'
    server = Server(tmp_path / "instance", config=config)
    server.environ["THREATCLOUD_CONFIG"] = str(server.config)
    return server


def findings(instance: Server) -> dict[str, Finding]:
    config = load_config(instance.config, {"THREATCLOUD_STATE_DIR": str(instance.state_dir)})
    listed = diagnose(config)
    assert all(finding.todo for finding in listed if finding.state != "ok")
    found = {finding.check: finding for finding in listed}
    assert len(found) == len(listed)
    return found


def change(instance: Server, statement: str, *values: object) -> None:
    with sqlite3.connect(instance.state_dir / "threatcloud.db") as db:
        db.execute(statement, values)
    db.close()


def test_an_upstream_is_new_then_healthy_then_stale(instance: Server) -> None:
    instance.cli("key", "list")
    never = findings(instance)["upstream atr"]
    assert (never.state, never.todo) == ("warning", "threatcloud upstream pull atr")
    instance.cli("upstream", "pull")
    well = findings(instance)["upstream atr"]
    assert well.state == "ok"
    assert well.found.startswith("10 rules, version ")
    change(instance, "UPDATE upstream SET succeeded_at = ?", LONG_AGO)
    stale = findings(instance)["upstream atr"]
    assert stale.state == "failed"
    assert LONG_AGO in stale.found and "threatcloud upstream pull atr" in stale.todo


def test_a_failing_upstream_is_a_failure_once_it_is_stale(instance: Server, folder: Path) -> None:
    instance.cli("upstream", "pull")
    folder.rename(folder.with_name("elsewhere"))
    instance.cli("upstream", "pull", check=False)
    found = findings(instance)
    assert found["upstream atr"].state == "warning"
    assert found["upstream atr"].found.startswith("failing (not-found, 1 in a row), the last success was 20")
    assert "Check `path`" in found["upstream atr"].todo
    assert found["upstream atr: files"].state == "failed"
    change(instance, "UPDATE upstream SET succeeded_at = ?", LONG_AGO)
    assert findings(instance)["upstream atr"].state == "failed"


def test_what_waits_for_an_admin_names_the_command(instance: Server, folder: Path) -> None:
    instance.cli("upstream", "pull")
    for rule_id in RULES[:3]:
        (folder / f"{rule_id}.yaml").unlink()
    (folder / "broken.yaml").write_text("title: [")
    instance.cli("upstream", "pull")
    found = findings(instance)
    assert found["upstream atr: held"].todo == "threatcloud upstream list-pending atr"
    assert "3 changes" in found["upstream atr: held"].found
    assert found["upstream atr: set aside"].todo == "threatcloud upstream list-set-aside atr"
    assert "rollback" not in found
    instance.cli("publication", "rollback", "1", "--reason", "to be safe")
    held_back = findings(instance)["rollback"]
    assert held_back.state == "warning"
    assert "publication 1" in held_back.found and "to be safe" in held_back.found
    assert held_back.todo.endswith("threatcloud publication resume")


def test_overlay_entries_that_need_attention_are_reported(instance: Server, folder: Path) -> None:
    instance.cli("upstream", "pull")
    decided = ("--owner", "soc", "--reason", "noisy here")
    instance.cli("overlay", "disable", RULES[0], *decided, "--expires", "1d")
    instance.cli("overlay", "disable", RULES[1], *decided)
    instance.cli("overlay", "disable", "ATR-2026-1", *decided)
    instance.cli("overlay", "severity", RULES[2], "low", *decided)
    change(instance, "UPDATE overlay SET expires_at = ? WHERE rule_id = ?", LONG_AGO, RULES[0])
    (folder / f"{RULES[2]}.yaml").write_text(rule_text(RULES[2], title="Another title"))
    instance.cli("upstream", "pull")
    ids = {entry["ruleId"]: entry["id"] for entry in instance.cli_json("overlay", "list")}
    found = {name: f for name, f in findings(instance).items() if name.startswith("overlay")}
    assert found.pop("overlay").found == "1 in force"
    ended, idle, moved = (found.pop(f"overlay {rule}") for rule in _entries(RULES[0], RULES[2]))
    assert found == {}
    assert LONG_AGO in ended.found and "soc: noisy here" in ended.found
    assert ended.todo == f"threatcloud overlay remove {ids[RULES[0]]}"
    assert "no upstream has the rule" in idle.found
    assert "upstream has changed the rule" in moved.found
    assert moved.todo == f"threatcloud overlay show {ids[RULES[2]]}"


def _entries(expired: str, moved: str) -> list[str]:
    return [f"{expired}: disable", "ATR-2026-1: disable", f"{moved}: severity"]


def test_a_database_of_an_older_release_is_reported_as_not_migrated_only(instance: Server) -> None:
    instance.cli("upstream", "pull")
    change(instance, "DELETE FROM _sqlite_migrations WHERE name = 'm0005_federation'")
    change(instance, "DROP TABLE overlay")
    found = findings(instance)
    assert found["schema"].state == "warning"
    assert not any(name in found for name in ("upstream atr", "database", "overlay"))


HTTP = {"kind": "live", "url": "https://threatcloud.example"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (HTTP | {"key": "file:{}/open.key"}, "can be read by every user"),
        (HTTP | {"key": "file:{}/missing.key"}, "cannot be read: No such file"),
        (HTTP | {"key": "file:{}/good.key"}, None),
        (HTTP | {"key": "env:NOT_SET_ANYWHERE"}, None),
        (HTTP | {"key": "credential:upstream"}, None),
        (HTTP | {"ca_file": "{}/missing.pem"}, "ca_file: "),
        (HTTP | {"client_certificate": "{}/open.key"}, "client_certificate: "),
        ({"kind": "directory", "path": "{}"}, None),
        ({"kind": "directory", "path": "{}/missing"}, "does not exist"),
        ({"kind": "bundle", "key_file": "{}/missing.pem"}, "No such file"),
        ({"kind": "bundle", "key_file": "{}/open.key"}, "holds 0 PEM keys"),
        ({"kind": "package", "package": "pyatr"}, None),
    ],
)
def test_files_of_upstreams_that_cannot_be_used_are_named(
    options: dict[str, str], said: str | None, tmp_path: Path
) -> None:
    for name, mode in (("open.key", 0o644), ("good.key", 0o600)):
        (tmp_path / name).write_text("not-a-real-key\n")
        (tmp_path / name).chmod(mode)
    table = {name: value.format(tmp_path) for name, value in options.items()} | {"name": "x"}
    found = list(check_upstream_files([msgspec.convert(table, Upstream)]))
    if said is None:
        assert found == []
    else:
        (finding,) = found
        assert (finding.check, finding.state) == ("upstream x: files", "failed")
        assert said in finding.found
        assert finding.todo
        assert "not-a-real-key" not in finding.found
