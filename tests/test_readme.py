"""The README's tour works as printed: every command is run, every output compared."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import need_program
from tests.server import COMMAND, REPOSITORY, Server

UPSTREAM = '[[upstream]]\nname = "atr"\nkind = "package"\npackage = "pyatr"\n'
MARK = "@@@ end of output @@@"


def tour() -> Iterator[tuple[str, str]]:
    """Each command of the console blocks, with its continuation lines, and the output printed below it."""
    for block in re.findall(r"```console\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL):
        command, output = "", ""
        for line in block.splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, output
                command, output = line[2:], ""
            elif line.startswith("> "):
                command += "\n" + line[2:]
            else:
                output += line + "\n"
        yield command, output


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "instance", config=UPSTREAM, consensus_cycle_seconds=86_400) as running:
        yield running


def test_the_tour_works_as_printed(server: Server, tmp_path: Path) -> None:
    need_program("jq")
    need_program("curl")
    (tmp_path / "docs").symlink_to(REPOSITORY / "docs")
    commands = list(tour())
    assert len(commands) > 12
    script = ["set -o pipefail"]
    for command, _ in commands:
        script += [command, f"echo {shlex.quote(MARK)}"]
    text = "\n".join(script)
    text = text.replace("localhost:8080", f"127.0.0.1:{server.port}")
    text = text.replace(".venv/bin/threatcloud", shlex.quote(str(COMMAND)))
    done = subprocess.run(
        ["bash", "-c", text],
        env=server.environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    outputs = done.stdout.split(MARK + "\n")
    for (command, expected), found in zip(commands, outputs, strict=False):
        assert found == expected, f"{command}\n{done.stderr}"
    assert len(outputs) == len(commands) + 1
