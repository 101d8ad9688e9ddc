"""Every verb of the command line against a real instance: what it does, what it prints, how it refuses."""

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from app.cli import main
from tests.flows.fleet import (
    by_id,
    confirmed_by,
    instance,
    live_rules,
    new_hash,
    new_id,
    poll,
    promoted,
    rule,
    shown,
    vote_against,
)
from tests.flows.guard import verified_in_node
from tests.server import Server

WITHOUT_JSON = {"threatcloud serve", "threatcloud config example"}


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every verb below a command, with its full name."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from leaves(below, f"{path} {name}")


VERBS = dict(leaves(main, "threatcloud"))


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_explains_itself_and_can_print_json(name: str) -> None:
    done = CliRunner().invoke(main, [*name.split()[1:], "--help"])
    assert done.exit_code == 0
    assert done.output.startswith("Usage: ")
    command = VERBS[name]
    assert command.help, f"{name} has no help"
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert name in WITHOUT_JSON or any("--json" in option.opts for option in options)
    assert all(
        option.help for option in options if option.name in {"reason", "subject", "expires", "variant"}
    )


def test_a_slip_of_the_pen_is_a_usage_error(server: Server) -> None:
    for verb in (
        ["keys"],
        ["key", "issue"],
        ["key", "issue", "--role", "root", "--subject", "x"],
        ["promote", "-x"],
    ):
        done = server.cli(*verb, check=False)
        assert done.returncode == 2
        assert "Usage: " in done.stderr


# Keys


def test_a_key_works_at_once_and_not_after_its_revocation(server: Server) -> None:
    token = server.cli("key", "issue", "--role", "agent", "--subject", "cli-agent").stdout.strip()
    with server.client(token) as agent:
        poll(agent)
        (listed,) = server.cli_json("key", "list", "--subject", "cli-agent")
        assert (listed["role"], listed["revoked_at"]) == ("agent", None)
        assert token not in server.cli("key", "list").stdout
        server.cli("key", "revoke", listed["id"])
        refused = agent.get("/api/atr-rules")
    assert refused.status_code == 401
    assert "www-authenticate" in refused.headers
    (listed,) = server.cli_json("key", "list", "--subject", "cli-agent", "--role", "agent")
    assert listed["revoked_at"] is not None
    actions = {e["action"]: e for e in server.cli_json("audit", "list") if e["target"] == listed["id"]}
    assert {"key.issue", "key.revoke"} <= actions.keys()
    assert actions["key.revoke"]["actor"].startswith("local (")
    assert actions["key.revoke"]["address"] == "local"


@pytest.mark.parametrize(
    ("expires", "prefix"),
    [("90d", None), ("12h", None), ("30m", None), ("2099-12-31T00:00:00Z", "2099-12-31T00:00:00.000Z")],
)
def test_expiry_is_a_span_or_an_instant(server: Server, expires: str, prefix: str | None) -> None:
    issued = issue(server, "--expires", expires)
    assert issued["expires_at"] > issued["issued_at"]
    assert prefix is None or issued["expires_at"] == prefix


@pytest.mark.parametrize("expires", ["soon", "-1d", "0d", "90", "2020-01-01T00:00:00Z", ""])
def test_a_bad_expiry_is_named(server: Server, expires: str) -> None:
    done = server.cli(
        "key", "issue", "--role", "agent", "--subject", "never", "--expires", expires, check=False
    )
    assert done.returncode == 1
    assert "Error: expires: " in done.stderr
    assert server.cli_json("key", "list", "--subject", "never") == []


def issue(server: Server, *options: str) -> dict[str, Any]:
    done: dict[str, Any] = server.cli_json(
        "key", "issue", "--role", "agent", "--subject", "expiring", *options
    )
    return done


# Rules


def test_a_folder_of_rules_is_imported_and_served(server: Server, tmp_path: Path) -> None:
    one, other = new_id(), new_id()
    (tmp_path / "deep").mkdir()
    (tmp_path / "one.yaml").write_text(rule(rule_id=one))
    (tmp_path / "deep" / "other.yml").write_text(rule(rule_id=other))
    (tmp_path / "notes.txt").write_text("not a rule")
    imported = server.cli_json("rules", "import", str(tmp_path))
    assert {r["name"]: (r["ruleId"], r["change"]) for r in imported} == {
        "one.yaml": (one, "added"),
        "deep/other.yml": (other, "added"),
    }
    assert {one, other} <= live_rules(server).keys()
    assert live_rules(server)[one]["ruleContent"] == (tmp_path / "one.yaml").read_text()

    (tmp_path / "one.yaml").write_text(rule(rule_id=one, title="A better title"))
    again = {r["ruleId"]: r["change"] for r in server.cli_json("rules", "import", str(tmp_path))}
    assert again == {one: "changed", other: "unchanged"}

    assert {r["ruleId"] for r in server.cli_json("rules", "list", "--origin", "local")} >= {one, other}
    (held,) = server.cli_json("rules", "show", one)
    assert (held["title"], held["state"], held["origin"]) == ("A better title", "active", "local")
    assert "A better title" in server.cli("rules", "show", one).stdout

    server.cli("rules", "withdraw", one, "--reason", "no longer needed")
    assert one not in live_rules(server)
    assert server.cli("rules", "withdraw", one, "--reason", "again", check=False).returncode == 1
    (file,) = server.cli_json("rules", "import", str(tmp_path / "deep" / "other.yml"))
    assert (file["name"], file["change"]) == ("other.yml", "unchanged")


def test_an_import_with_mistakes_imports_nothing_and_names_each(server: Server, tmp_path: Path) -> None:
    good = new_id()
    broken = {
        "bad-yaml.yaml": "title: [",
        "no-detection.yaml": f"title: t\nid: {new_id()}\nseverity: high\ntags: {{category: x}}\n",
        "severity.yaml": rule(severity="worst"),
        "twin.yaml": rule(rule_id=good),
    }
    (tmp_path / "good.yaml").write_text(rule(rule_id=good))
    for name, text in broken.items():
        (tmp_path / name).write_text(text)
    done = server.cli("rules", "import", str(tmp_path), check=False)
    assert done.returncode == 1
    assert "Nothing was imported" in done.stderr
    for name in broken:
        assert f"  {name}: " in done.stderr, name
    assert "  severity.yaml: severity: " in done.stderr
    assert "good.yaml has the same id" in done.stderr
    assert good not in live_rules(server)
    assert server.cli("rules", "show", good, check=False).returncode == 1


def test_what_is_no_rule_file_is_refused_before_anything_is_sent(server: Server, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"title: \xff")
    (tmp_path / "huge.yaml").write_bytes(b"#" * (1 << 20) + b"#")
    for name, said in (
        ("empty", "there is no .yaml, .yml or .json file below it"),
        ("latin.yaml", "not UTF-8 (byte 7)"),
        ("huge.yaml", "larger than 1048576 bytes"),
        ("missing", "does not exist"),
    ):
        done = server.cli("rules", "import", str(tmp_path / name), check=False)
        assert done.returncode in {1, 2}
        assert said in done.stderr


def test_an_import_cannot_take_the_id_of_an_official_rule(official: Server, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(rule(rule_id="ATR-2026-00003"))
    done = official.cli("rules", "import", str(tmp_path), check=False)
    assert done.returncode == 1
    assert "upstream:atr already has ATR-2026-00003; give this rule another id" in done.stderr


def test_rules_are_checked_without_an_instance(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(rule())
    (tmp_path / "slow.yaml").write_text(rule(pattern="(a|a|aa)+$"))
    (tmp_path / "wrong.yaml").write_text(rule(pattern="something else"))
    server = Server(tmp_path / "nowhere")
    done = server.cli("rules", "check", str(tmp_path), "--json", check=False)
    assert done.returncode == 1
    results = {result["name"]: result for result in json.loads(done.stdout)}
    assert results["good.yaml"]["passed"]
    assert "exponential" in results["slow.yaml"]["reasons"][0]
    assert "does not fire on its true positive" in results["wrong.yaml"]["reasons"][0]
    assert server.cli("rules", "check", str(tmp_path / "good.yaml")).stdout.strip() == "1 of 1 pass"
    assert not server.state_dir.exists()


# Proposals


def test_a_reviewer_works_through_a_proposal(server: Server) -> None:
    rule_id, pattern_hash = new_id(), new_hash()
    confirmed_by(server, pattern_hash, [rule(rule_id=rule_id)] * 2)
    listed = {p["patternHash"]: p for p in server.cli_json("proposal", "list", "--status", "pending")}
    assert listed[pattern_hash]["confirmations"] == 2
    assert "1 more independent confirmation." in server.cli("proposal", "show", pattern_hash).stdout
    why = server.cli_json("proposal", "why", pattern_hash)
    assert [vote["counted"] for vote in why["votes"]] == [True, True]
    assert "2 of 3 independent confirmations" in server.cli("proposal", "why", pattern_hash).stdout

    approved = server.cli_json("proposal", "approve", pattern_hash, "--reason", "looks right")
    assert approved["status"] == "pending"  # an approval chooses the text and never waives the threshold
    assert approved["missing"] == ["1 more independent confirmation."]
    confirmed_by(server, pattern_hash, [rule(rule_id=rule_id)])
    assert server.cli_json("promote")["promoted"] == [pattern_hash]
    assert "promoted: []" in server.cli("promote").stdout

    assert server.cli_json("proposal", "withdraw", pattern_hash, "--reason", "noisy")["status"] == "withdrawn"
    assert rule_id not in live_rules(server)
    refused = server.cli("proposal", "approve", pattern_hash, check=False)
    assert refused.returncode == 1
    assert "The proposal is withdrawn" in refused.stderr
    server.cli("proposal", "reopen", pattern_hash, "--reason", "noise was elsewhere")
    assert server.cli_json("promote")["promoted"] == [pattern_hash]
    assert rule_id in live_rules(server)


def test_a_text_that_the_gate_refuses_is_refused_with_the_reasons(server: Server, tmp_path: Path) -> None:
    pattern_hash = new_hash()
    confirmed_by(server, pattern_hash, [rule()])
    slow = tmp_path / "slow.yaml"
    slow.write_text(rule(pattern="(a|a|aa)+$"))
    done = server.cli("proposal", "text", pattern_hash, str(slow), check=False)
    assert done.returncode == 1
    assert "The gate refuses this text." in done.stderr
    assert "exponential" in done.stderr
    assert len(shown(server, pattern_hash)["variants"]) == 1


# Publications


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """An instance that a test may roll back, or whose keys it may change."""
    with instance(tmp_path / "own", consensus_cycle_seconds=86_400) as running:
        yield running


def test_a_rollback_holds_until_it_is_released(own: Server) -> None:
    server = own
    good_hash, good = promoted(server)
    _, other = promoted(server)
    target = server.cli_json("publication", "show")["serial"]
    kept = live_rules(server)
    _, bad = promoted(server)
    assert server.cli_json("publication", "diff")["added"] == [bad]

    rolled = server.cli_json("publication", "rollback", str(target), "--reason", "bad rule")
    assert (rolled["serial"], rolled["restores"]) == (target + 2, target)
    assert {i: r["ruleContent"] for i, r in live_rules(server).items()} == {
        i: r["ruleContent"] for i, r in kept.items()
    }
    assert server.cli_json("publication", "diff")["withdrawn"] == [bad]
    with server.agent() as agent:
        assert bad in poll(agent).json()["meta"]["withdrawn"]

    _, later = promoted(server)
    assert live_rules(server).keys() == {good, other}
    for _ in range(3):
        vote_against(server, good)
    assert live_rules(server).keys() == {other}
    server.stop()
    server.start()
    assert live_rules(server).keys() == {other}

    released = server.cli_json("publication", "release")
    assert released["serial"] > rolled["serial"]
    assert live_rules(server).keys() == {other, bad, later}
    assert shown(server, good_hash)["status"] == "quarantined"
    again = server.cli("publication", "release", check=False)
    assert again.returncode == 1
    assert "nothing to release" in again.stderr
    serials = [record["serial"] for record in server.cli_json("publication", "list")]
    assert serials == sorted(serials, reverse=True)
    assert len(set(serials)) == len(serials)
    actions = [entry["action"] for entry in server.cli_json("audit", "list")]
    assert {"publication.rollback", "publication.release"} <= set(actions)


# Signing keys


def test_old_tokens_outlive_a_rotation_until_their_key_is_retired(own: Server) -> None:
    with own.agent() as agent:
        poll(agent)
        old = active(own, "access")
        new = own.cli_json("signing-key", "rotate", "access")["kid"]
        assert active(own, "access") == new != old
        poll(agent)
        with own.agent("enrolled-after") as later:
            poll(later)
            refused = own.cli("signing-key", "retire", new, check=False)
            assert refused.returncode == 1
            assert "rotate it first" in refused.stderr
            own.cli("signing-key", "retire", old)
            assert agent.get("/api/atr-rules").status_code == 401
            poll(later)


def test_rotating_the_rule_key_signs_anew_at_once(server: Server, tmp_path: Path) -> None:
    _, rule_id = promoted(server)
    with server.agent() as agent:
        before = poll(agent)
        old = active(server, "rule")
        server.cli("signing-key", "rotate", "rule")
        after = poll(agent, **{"If-None-Match": before.headers["etag"]})
        assert after.status_code == 200
        assert after.json()["meta"]["serial"] == before.json()["meta"]["serial"] + 1
        one, other = by_id(before)[rule_id], by_id(after)[rule_id]
        assert one["signature"] != other["signature"]
        assert {**one, "signature": ""} == {**other, "signature": ""}
        pem = agent.get("/.well-known/rule-key.pem").text
        assert set(verified_in_node(after.content, pem, tmp_path).values()) == {True}
        assert set(verified_in_node(before.content, pem, tmp_path).values()) == {False}
        server.cli("signing-key", "retire", old)
        assert poll(agent, **{"If-None-Match": after.headers["etag"]}).status_code == 304


def test_rotating_the_manifest_key_leaves_nothing_signed_by_the_old_one(server: Server) -> None:
    with server.agent() as agent:
        poll(agent)
        old = active(server, "manifest")
        new = server.cli_json("signing-key", "rotate", "manifest")["kid"]
        server.cli("signing-key", "retire", old)
        manifest = agent.get("/api/publications/current").json()["data"]["manifest"]
        freshness = poll(agent).headers["threatcloud-freshness"]
        published = {key["kid"] for key in agent.get("/.well-known/jwks.json").json()["keys"]}
    assert kid_of(manifest) == kid_of(freshness) == new
    assert new in published
    assert old not in published


def test_lost_rule_keys_are_replaced_and_what_is_served_is_signed_with_the_new_ones(
    server: Server, tmp_path: Path
) -> None:
    """As after a restore from a backup, which has no private keys."""
    _, rule_id = promoted(server)
    server.stop()
    for key in (server.state_dir / "keys").glob("rule-*.pem"):
        key.unlink()
    server.start()
    with server.agent() as agent:
        body, pem = poll(agent).content, agent.get("/.well-known/rule-key.pem").text
    results = verified_in_node(body, pem, tmp_path)
    assert rule_id in results
    assert all(results.values())


def active(server: Server, use: str) -> str:
    """The id of the key that signs."""
    kid: str = next(
        k["kid"] for k in server.cli_json("signing-key", "list") if k["use"] == use and k["active"]
    )
    return kid


def kid_of(token: str) -> str:
    """The key id in a JWS's header."""
    import jwt  # noqa: PLC0415

    kid: str = jwt.get_unverified_header(token)["kid"]
    return kid


# Audit, doctor, configuration


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of an instance that issued two keys and was stopped; only copied from."""
    server = Server(tmp_path_factory.mktemp("pattern"))
    for subject in ("first", "second"):
        server.cli("key", "issue", "--role", "agent", "--subject", subject)
    return server.state_dir


@pytest.fixture
def stopped(pattern: Path, tmp_path: Path) -> Server:
    """An instance that ran and was stopped."""
    server = Server(tmp_path)
    shutil.copytree(pattern, server.state_dir)
    return server


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
    assert stopped.cli_json("audit", "verify")["broken_at"] is None
    tamper(stopped, statement)
    done = stopped.cli("audit", "verify", "--json", check=False)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["broken_at"] == broken_at
    assert why in report["why"]
    said = stopped.cli("audit", "verify", check=False)
    assert said.returncode == 1
    assert f"broken at entry {broken_at}" in said.stdout


def test_the_audit_list_can_be_narrowed(server: Server) -> None:
    issue(server)
    entries = server.cli_json("audit", "list", "--action", "key.issue", "--limit", "2")
    assert 0 < len(entries) <= 2
    assert {entry["action"] for entry in entries} == {"key.issue"}
    assert server.cli_json("audit", "list", "--since", "2099-01-01T00:00:00Z") == []
    assert "since: " in server.cli("audit", "list", "--since", "monday", check=False).stderr


def findings(server: Server) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code of `doctor`, and what it found by name."""
    done = server.cli("doctor", "--json", check=False)
    listed = json.loads(done.stdout)
    assert all(set(finding) == {"check", "state", "found", "todo"} for finding in listed)
    assert all(finding["todo"] for finding in listed if finding["state"] != "ok")
    return done.returncode, {finding["check"]: finding for finding in listed}


def test_doctor_reports_everything_beside_a_server_and_without(server: Server) -> None:
    code, found = findings(server)
    assert code == 0
    assert found.keys() == {
        "sqlite version",
        "state folder",
        "secret files",
        "disk",
        "backup",
        "file system",
        "lock",
        "pragmas",
        "integrity",
        "schema",
        "clock",
    }
    assert server.process is not None
    assert f"main process {server.process.pid}" in found["lock"]["found"]
    server.stop()
    code, found = findings(server)
    assert code == 0
    assert "free" in found["lock"]["found"]
    server.start()


def test_doctor_says_what_must_be_mended(stopped: Server) -> None:
    (stopped.state_dir / "admin.key").chmod(0o640)
    stopped.state_dir.chmod(0o755)
    code, found = findings(stopped)
    assert code == 1
    assert found["secret files"]["state"] == "failed"
    assert found["secret files"]["todo"] == f"chmod 0600 {stopped.state_dir / 'admin.key'}"
    assert found["state folder"] == {
        "check": "state folder",
        "state": "warning",
        "found": "mode 0755",
        "todo": f"chmod 0700 {stopped.state_dir}",
    }
    text = stopped.cli("doctor", check=False).stdout
    assert "FAIL secret files: 1 readable by others" in text
    assert "WARN state folder: mode 0755" in text


def test_doctor_without_a_state_folder_says_to_start_once(tmp_path: Path) -> None:
    server = Server(tmp_path)
    code, found = findings(server)
    assert code == 1
    assert found["state folder"]["todo"] == found["database"]["todo"] == "Start the server once."
    assert not server.state_dir.exists()


def test_a_damaged_database_is_one_sentence_everywhere(stopped: Server) -> None:
    database = stopped.state_dir / "threatcloud.db"
    database.write_bytes(b"not a database" * 1000)
    code, found = findings(stopped)
    assert code == 1
    assert found["database"]["state"] == "failed"
    for verb in (("key", "list"), ("serve",)):
        done = stopped.cli(*verb, check=False)
        assert done.returncode == 1
        assert f"Error: {database} cannot be opened: file is not a database" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_database_of_a_newer_release_is_left_alone(stopped: Server) -> None:
    db = sqlite3.connect(stopped.state_dir / "threatcloud.db")
    db.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('threatcloud', 'm9999_x', 'x')"
    )
    db.commit()
    db.close()
    code, found = findings(stopped)
    assert code == 1
    assert found["schema"]["state"] == "failed"
    done = stopped.cli("serve", check=False)
    assert done.returncode == 1
    assert "was written by a newer release (it has m9999_x)" in done.stderr
    assert "Traceback" not in done.stderr


def check_config(tmp_path: Path, text: str, **environ: str) -> subprocess.CompletedProcess[str]:
    server = Server(tmp_path, config=text)
    server.environ |= environ
    return server.cli("config", "check", "--config", str(server.config), check=False)


def test_every_mistake_in_the_configuration_is_one_line(tmp_path: Path) -> None:
    done = check_config(
        tmp_path,
        '[server]\nport = "8080"\nhots = "::"\n[acess]\n[access]\nnetworks = ["10.0.0.0/33"]\n'
        "[consensus]\nthreshold = 2\ncontent_quorum = 3\n",
        THREATCLOUD_LIMITS_LIVE_BURST="many",
        THREATCLOUD_SERVER_PROT="1",
        THREATCLOUD_ACESS_REGISTRATION="open",
    )
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert all(line.startswith("configuration: ") for line in lines)
    expected = (
        "server.port: Expected `int`, got `str`",
        "server.hots: there is no such option; did you mean host?",
        "[acess]: there is no such section; did you mean access?",
        "access: '10.0.0.0/33' is not a network",
        "consensus.content_quorum (3) is larger than threshold (2)",
        "limits.live_burst: Expected `int`",
        "THREATCLOUD_SERVER_PROT: [server] has no option 'prot'; did you mean port?",
        "THREATCLOUD_ACESS_REGISTRATION: there is no section [acess]; did you mean access?",
    )
    for mistake in expected:
        assert sum(line.startswith(f"configuration: {mistake}") for line in lines) == 1, mistake
    assert len(lines) == len(expected)


def test_a_server_with_a_broken_configuration_does_not_start(tmp_path: Path) -> None:
    server = Server(tmp_path, config="[limits]\nlive_burst = 0\n")
    done = server.cli("serve", "--config", str(server.config), check=False)
    assert done.returncode == 2
    assert done.stderr == "configuration: limits.live_burst: Expected `int` >= 1\n"
    assert not server.state_dir.exists()


def test_a_configuration_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    server = Server(tmp_path)
    missing = server.cli("config", "check", "--config", str(tmp_path / "missing.toml"), check=False)
    folder = server.cli("config", "check", "--config", str(tmp_path), check=False)
    (tmp_path / "latin.toml").write_bytes(b'[server]\nhost = "\xff"\n')
    latin = server.cli("config", "check", "--config", str(tmp_path / "latin.toml"), check=False)
    assert (missing.returncode, folder.returncode, latin.returncode) == (2, 2, 2)
    assert "missing.toml: there is no such file" in missing.stderr
    assert "is a directory" in folder.stderr
    assert "latin.toml: not TOML" in latin.stderr


def test_the_example_is_valid_and_shows_the_defaults(tmp_path: Path) -> None:
    bare = Server(tmp_path / "bare")
    example = Server(tmp_path / "example", config=bare.cli("config", "example").stdout)
    for server in (bare, example):
        for name in ("THREATCLOUD_PORT", "THREATCLOUD_STATE_DIR"):
            del server.environ[name]
    assert (
        example.cli("config", "check", "--config", str(example.config)).stdout
        == "the configuration is valid\n"
    )
    defaults = bare.cli_json("config", "show", "--config", str(bare.config))
    shown_example = example.cli_json("config", "show", "--config", str(example.config))
    (upstream,) = shown_example.pop("upstream")
    assert {name: upstream[name] for name in ("name", "kind", "package", "policy")} == {
        "name": "atr",
        "kind": "package",
        "package": "pyatr",
        "policy": "mirror",
    }
    assert defaults.pop("upstream") == []
    assert shown_example == defaults
    assert "server.port = 8080" in bare.cli("config", "show", "--config", str(bare.config)).stdout
