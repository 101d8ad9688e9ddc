"""One process at a time has the state folder; verbs work beside a server and without one, to the same effect."""

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.fleet import confirmed_by, live_rules, new_hash, new_id, poll, rule
from tests.needs import need_root
from tests.server import COMMAND, Server


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An instance that tests start and stop as they need it."""
    server = Server(tmp_path_factory.mktemp("single"), consensus_cycle_seconds=86_400)
    yield server
    if server.process is not None:
        server.kill()


@pytest.fixture
def up(instance: Server) -> Server:
    """The instance, running."""
    if instance.process is None or instance.process.poll() is not None:
        instance.start()
    return instance


@pytest.fixture
def down(instance: Server) -> Server:
    """The instance, stopped."""
    if instance.process is not None and instance.process.poll() is None:
        instance.stop()
    return instance


def test_a_second_server_is_refused_and_names_the_first(up: Server) -> None:
    assert up.process is not None
    second = Server(up.folder)  # the same state folder, another port
    second.log = up.folder / "second.log"
    second.start(wait=False)
    assert second.process is not None
    assert second.process.wait(30) == 1
    said = second.log.read_text()
    assert f"main process {up.process.pid}" in said
    assert "stop that first, or set another server.state_dir" in said
    assert "Traceback" not in said
    assert up.cli_json("key", "list")  # the first one and its control socket are unharmed


def test_a_port_that_is_taken_is_said_at_once(up: Server, tmp_path: Path) -> None:
    second = Server(tmp_path)
    second.environ["THREATCLOUD_PORT"] = str(up.port)
    second.start(wait=False)
    assert second.process is not None
    assert second.process.wait(30) == 2
    said = second.log.read_text()
    assert f"server.port: cannot listen on 127.0.0.1:{up.port}: Address already in use" in said
    assert "Traceback" not in said
    assert "Retrying" not in said


def test_a_key_issued_without_a_server_opens_the_next_one(down: Server) -> None:
    issued = down.cli_json("key", "issue", "--role", "agent", "--subject", "made-while-down")
    down.start()
    with down.client(issued["token"]) as agent:
        poll(agent)
    listed = {key["id"]: key for key in down.cli_json("key", "list")}
    assert listed[issued["id"]]["subject"] == "made-while-down"
    assert "token" not in listed[issued["id"]]


def test_a_key_revoked_without_a_server_is_refused_by_the_next_one(up: Server) -> None:
    issued = up.cli_json("key", "issue", "--role", "agent", "--subject", "to-be-revoked")
    with up.client(issued["token"]) as agent:
        poll(agent)
    up.stop()
    up.cli("key", "revoke", issued["id"])
    up.start()
    with up.client(issued["token"]) as agent:
        assert agent.get("/api/atr-rules").status_code == 401


def test_rules_imported_without_a_server_are_served_by_the_next_one(down: Server, tmp_path: Path) -> None:
    rule_id = new_id()
    (tmp_path / "mine.yaml").write_text(rule(rule_id=rule_id))
    assert [r["change"] for r in down.cli_json("rule", "import", str(tmp_path))] == ["added"]
    serial = down.cli_json("publication", "show")["serial"]
    down.start()
    assert rule_id in live_rules(down)
    assert down.cli_json("publication", "show")["serial"] == serial


def test_a_promotion_without_a_server_is_served_by_the_next_one(up: Server) -> None:
    rule_id, pattern_hash = new_id(), new_hash()
    confirmed_by(up, pattern_hash, [rule(rule_id=rule_id)] * 3)
    up.stop()
    assert up.cli_json("promotion", "run")["promoted"] == [pattern_hash]
    up.start()
    assert rule_id in live_rules(up)


READ_ONLY = (
    ("key", "list"),
    ("rule", "list"),
    ("publication", "show"),
    ("audit", "verify"),
)


def test_verbs_say_the_same_with_and_without_a_server(up: Server) -> None:
    def answers() -> dict[str, Any]:
        return {" ".join(verb): up.cli_json(*verb) for verb in READ_ONLY}

    beside = answers()
    up.stop()
    assert answers() == beside


def test_refusals_say_the_same_with_and_without_a_server(up: Server) -> None:
    def refusals() -> list[tuple[int, str]]:
        verbs = (
            ("key", "revoke", "0123456789abcdef"),
            ("key", "issue", "--role", "agent", "--subject", "two words"),
            ("publication", "rollback", "4711", "--reason", "x"),
        )
        done = [up.cli(*verb, check=False) for verb in verbs]
        assert all(one.stdout == "" for one in done)
        return [(one.returncode, one.stderr) for one in done]

    beside = refusals()
    assert all(code == 1 and said.startswith("Error: ") for code, said in beside)
    up.stop()
    assert refusals() == beside


def test_several_verbs_at_once_without_a_server_take_turns(down: Server) -> None:
    subjects = [f"at-once-{number}" for number in range(4)]
    running = [
        subprocess.Popen(
            [COMMAND, "key", "issue", "--role", "agent", "--subject", subject, "--json"],
            env=down.environ,
            cwd=down.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for subject in subjects
    ]
    done = [(process.communicate(timeout=60), process.returncode) for process in running]
    assert [code for _, code in done] == [0] * 4, done
    assert [json.loads(out)["subject"] for (out, _), _ in done] == subjects
    assert set(subjects) <= {key["subject"] for key in down.cli_json("key", "list")}


def test_a_verb_waits_for_a_server_that_is_starting(down: Server) -> None:
    down.start(wait=False)
    assert down.cli_json("key", "issue", "--role", "agent", "--subject", "early")["subject"] == "early"
    down.wait_until_ready()
    assert down.cli_json("audit", "verify")["brokenAt"] is None


def test_a_server_waits_for_a_verb_that_is_finishing(down: Server) -> None:
    with (down.state_dir / "threatcloud.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        down.start(wait=False)
        time.sleep(0.8)  # longer than the server needs to reach the lock
    down.wait_until_ready()


def test_a_killed_server_leaves_nothing_in_the_way(up: Server) -> None:
    up.kill()
    assert (up.state_dir / "control.sock").exists()
    assert up.cli_json("key", "issue", "--role", "agent", "--subject", "after-the-kill")["subject"]
    up.start()
    assert up.cli_json("key", "list", "--subject", "after-the-kill")


def test_the_control_socket_is_its_owners_only(up: Server) -> None:
    assert (up.state_dir / "control.sock").stat().st_mode & 0o077 == 0
    assert up.state_dir.stat().st_mode & 0o077 == 0
    assert (up.state_dir / "admin.key").stat().st_mode & 0o777 == 0o600


def test_relative_and_long_state_folders_work(tmp_path: Path) -> None:
    """A unix socket's path has at most 107 bytes: relative ones are used where they are shorter."""
    server = Server(tmp_path / ("long" * 20) / ("path" * 20))
    server.environ["THREATCLOUD_STATE_DIR"] = "state"
    with server:
        assert server.cli_json("key", "list")
        elsewhere = subprocess.run(
            [COMMAND, "key", "list"],
            env={**server.environ, "THREATCLOUD_STATE_DIR": str(server.state_dir)},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    assert elsewhere.returncode == 1
    assert "too long for a control socket" in elsewhere.stderr
    assert "Traceback" not in elsewhere.stderr


def test_what_keeps_the_server_from_starting_is_one_sentence(down: Server) -> None:
    key = next((down.state_dir / "keys").glob("rule-*.pem"))
    key.chmod(0o644)
    try:
        down.log.unlink()
        down.start(wait=False)
        assert down.process is not None
        assert down.process.wait(30) == 1
        verb = down.cli("key", "list", check=False)
        for said in (down.log.read_text(), verb.stderr):
            assert f"Error: {key} has mode 0644" in said
            assert "Traceback" not in said
    finally:
        key.chmod(0o600)


def test_a_state_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.state_dir.write_text("a file, where a folder is needed")
    for verb in (("key", "list"), ("doctor",), ("serve",)):
        done = server.cli(*verb, check=False)
        assert done.returncode in {1, 2}
        assert str(server.state_dir) in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_somebody_else_is_told_whose_folder_it_is(down: Server) -> None:
    need_root()
    down.cli("key", "list")
    probe = (
        "import os, sys\n"
        "from click.testing import CliRunner\n"
        "from app.cli import main\n"
        "import app.web.application, app.web.lifespan\n"
        "import app.cli.doctor, app.cli.key, app.cli.serve\n"  # while root alone may be able to read them
        "os.seteuid(65534)\n"
        "done = CliRunner().invoke(main, sys.argv[1:])\n"
        "print(done.output); print(repr(done.exception)); sys.exit(done.exit_code)\n"
    )
    for verb in (["key", "list"], ["doctor"], ["serve"]):
        done = subprocess.run(
            [COMMAND.with_name("python"), "-c", probe, *verb],
            env=down.environ,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in {1, 2}, done.stdout + done.stderr
        assert str(down.state_dir) in done.stdout
        assert "SystemExit" in done.stdout
    assert os.geteuid() == 0
