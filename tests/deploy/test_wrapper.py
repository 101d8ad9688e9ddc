"""The command of /usr/local/bin: root becomes the server's account, everybody else stays who they are."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import need_program, need_root
from tests.server import REPOSITORY

WRAPPER = REPOSITORY / "deploy" / "bin" / "threatcloud"
PROGRAM = """\
#!/bin/sh
printf '{"uid":%s,"gid":%s,"groups":"%s","home":"%s","sudo":"%s","words":"%s"}' \\
  "$(id -u)" "$(id -g)" "$(id -G)" "$HOME" "$SUDO_USER" "$*"
"""


@pytest.fixture
def wrapper() -> Iterator[Path]:
    """The wrapper around a program that says who runs it, in a place that everybody may enter."""
    need_root()
    need_program("setpriv")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    program = folder / "program"
    program.write_text(PROGRAM)
    text = WRAPPER.read_text()
    for line, new in (
        ("program=/opt/threatcloud/current/bin/threatcloud\n", f"program={program}\n"),
        ("account=threatcloud\n", "account=daemon\n"),
    ):
        assert line in text
        text = text.replace(line, new)
    path = folder / "threatcloud"
    path.write_text(text)
    for file in (program, path):
        file.chmod(0o755)
    yield path
    shutil.rmtree(folder)


def said(*command: object) -> dict[str, object]:
    environ = {"PATH": os.environ["PATH"], "HOME": "/root", "SUDO_USER": "alice"}
    done = subprocess.run(list(map(str, command)), env=environ, capture_output=True, text=True, check=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_root_becomes_the_account(wrapper: Path) -> None:
    answer = said(wrapper, "key", "list", "--json")
    assert answer["uid"] != 0
    assert "0" not in str(answer["groups"]).split()
    assert answer["home"] != "/root"
    assert (answer["sudo"], answer["words"]) == ("alice", "key list --json")


def test_the_account_itself_stays(wrapper: Path) -> None:
    nobody = said(wrapper)
    answer = said(
        "setpriv", f"--reuid={nobody['uid']}", f"--regid={nobody['gid']}", "--clear-groups", wrapper, "doctor"
    )
    assert (answer["uid"], answer["words"]) == (nobody["uid"], "doctor")
    assert answer["home"] == "/root", "nothing is changed for who is not root"


def test_it_says_when_the_account_is_not_there(wrapper: Path) -> None:
    wrapper.write_text(wrapper.read_text().replace("account=daemon", "account=nobody-of-this-name"))
    done = subprocess.run([wrapper], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "threatcloud: there is no account nobody-of-this-name on this machine\n"
