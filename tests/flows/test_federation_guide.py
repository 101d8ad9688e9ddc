"""The federation guide is true: its commands print what it says, and its tables read. Every failure is explained."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import load_config
from app.federation.status import HINTS
from tests.flows.fleet import eventually
from tests.needs import need_program
from tests.published import published_rules_folder
from tests.server import COMMAND, REPOSITORY, Server

GUIDE = (REPOSITORY / "docs" / "federation.md").read_text()
TROUBLESHOOTING = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
PLACES = {"/srv/atr-rules": "atr-rules", "/etc/threatcloud": "etc"}
"""Folders of the guide, and what they are called below the test's own."""
MARK = "@@@ end of output @@@"
TABLES: list[str] = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
VARIES = [
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "<instant>"),
    (re.compile(r"\b\d+\.\d s\b"), "<seconds>"),
    (re.compile(r"\b\d+ s ago"), "<age>"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "<id>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<digest>"),
    (re.compile(r"urn:threatcloud:[0-9a-f-]{36}"), "<instance>"),
    (re.compile(r"^bytes: \d+$", re.MULTILINE), "<size>"),
]
"""What no two runs have in common."""


def blocks() -> list[list[tuple[str, str]]]:
    """Each console block as `(command, output printed below it)`."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL):
        parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
        found.append(list(zip(parts[1::2], parts[2::2], strict=True)))
    return found


def alike(text: str) -> str:
    for pattern, word in VARIES:
        text = pattern.sub(word, text)
    return text


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An instance, not started yet, with the folder of the guide as its upstream; and the one inside."""
    shutil.copytree(published_rules_folder(), tmp_path / "atr-rules")
    (tmp_path / "etc").mkdir()
    inside = f'[server]\nstate_dir = "{tmp_path / "inside"}"\n{table("bundle", tmp_path)}'
    (tmp_path / "etc" / "inside.toml").write_text(inside)
    config = table("directory", tmp_path) + "interval = 86400\n"
    server = Server(tmp_path / "instance", config=config, consensus_cycle_seconds=86_400)
    # Not by environment, which would move the instance inside as well.
    place = f'[server]\nstate_dir = "{server.environ.pop("THREATCLOUD_STATE_DIR")}"\n'
    server.config.write_text(f"{place}port = {server.environ.pop('THREATCLOUD_PORT')}\n{config}")
    server.environ["THREATCLOUD_CONFIG"] = str(server.config)
    server.environ["PATH"] = f"{COMMAND.parent}:{server.environ['PATH']}"
    yield server
    if server.process is not None:
        server.kill()


def table(kind: str, below: Path) -> str:
    """The guide's table for an upstream of that kind, with its folders below this one."""
    (found,) = [table for table in TABLES if f'kind = "{kind}"' in table]
    for place, name in PLACES.items():
        found = found.replace(place, str(below / name))
    return found


def run(server: Server, commands: list[tuple[str, str]], below: Path) -> None:
    """Run them in one shell, and compare each output with the printed one."""
    script = "".join(f"{command}\necho {shlex.quote(MARK)}\n" for command, _ in commands)
    script = script.replace("localhost:8080", f"127.0.0.1:{server.port}")
    for place, name in PLACES.items():
        script = script.replace(place, str(below / name))
    done = subprocess.run(
        ["bash", "-c", script],
        env=server.environ,
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    output = done.stdout
    for place, name in PLACES.items():
        output = output.replace(str(below / name), place)
    outputs = output.split(MARK + "\n")
    for (command, expected), found in zip(commands, outputs, strict=False):
        assert alike(found) == alike(expected), f"{command}\n{done.stderr}"
    assert len(outputs) == len(commands) + 1


def last_success(server: Server) -> str:
    instant: str = server.cli_json("upstream", "show", "atr")["lastSuccess"]
    return instant


def test_the_walk_through_works_as_printed(server: Server, tmp_path: Path) -> None:
    need_program("curl")
    need_program("jq")
    before_the_start, *beside_the_server = blocks()
    run(server, before_the_start, tmp_path)
    first = last_success(server)
    server.start()
    eventually(lambda: last_success(server) > first, "the pull at the start")
    run(server, [step for block in beside_the_server for step in block], tmp_path)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: re.findall(r'(?:kind|action) = "(.*)"', table)[0])
def test_every_table_is_a_whole_configuration(table: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(table)
    load_config(path, {})


def test_every_failure_has_its_row() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", TROUBLESHOOTING, re.MULTILINE)
    explained = {code: text for code, text in rows if code in HINTS}
    assert explained == HINTS
