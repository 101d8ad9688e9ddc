"""What commands print: plain text for programs, tables and colour on a terminal, JSON with one spelling of keys."""

import json
import os
import pty
import re
import struct
import subprocess
import termios
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from app.cli.output import Styled, Table, camel, fields, show, with_camel_keys
from tests.example_rules import rule_text
from tests.flows.fleet import eventually, instance
from tests.server import COMMAND, Server

SGR = re.compile(r"\x1b\[([0-9;]*)m")


def on_terminal(server: Server, *line: str, columns: int = 120, **environ: str) -> str:
    """Run a command with a terminal as its stdout and stderr; return what the terminal got."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    inherited = {k: v for k, v in server.environ.items() if k not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}}
    process = subprocess.Popen(
        [COMMAND, *line],
        env={**inherited, "TERM": "xterm-256color", **environ},
        cwd=server.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    found = b""
    try:
        while piece := os.read(ours, 4096):
            found += piece
    except OSError:  # Linux says EIO when the other end is closed
        pass
    finally:
        os.close(ours)
        process.wait(60)
    return found.decode().replace("\r\n", "\n")


def test_a_table_is_aligned_and_plain(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table([["a", None, 1], ["long text", 22, "x y"]], ("name", "issued_at", "last"))
    show(None, as_json=False, text=["head", table, Table([], ("name",)), Styled("+ mark", "red", " rest")])
    assert capsys.readouterr().out == (
        "head\n"
        "name       issuedAt  last\n"
        "a          -         1\n"
        "long text  22        x y\n"
        "none\n"
        "+ mark rest\n"
    )


def test_keys_are_camel_case_all_the_way_down(capsys: pytest.CaptureFixture[str]) -> None:
    data = {
        "issued_at": 1,
        "alreadyCamel": [{"guard_refusal": None}, {"a_b_c": {"d_e": 2}}],
        "refused": {"my_file": "why"},
        "detail": {"rule_id": "x"},
        "ATR-2026-1": 3,
    }
    show(data, as_json=True, text="")
    assert json.loads(capsys.readouterr().out) == {
        "issuedAt": 1,
        "alreadyCamel": [{"guardRefusal": None}, {"aBC": {"dE": 2}}],
        "refused": {"my_file": "why"},
        "detail": {"rule_id": "x"},
        "ATR-2026-1": 3,
    }
    show({"state_dir": 1}, as_json=True, text="", keys_as_they_are=True)
    assert json.loads(capsys.readouterr().out) == {"state_dir": 1}


@pytest.mark.parametrize(
    ("name", "spelled"),
    [("a_b", "aB"), ("last_24h", "last24h"), ("plain", "plain"), ("_x", "_x"), ("a_b.yaml", "a_b.yaml")],
)
def test_only_names_of_fields_are_spelled_anew(name: str, spelled: str) -> None:
    assert camel(name) == spelled
    assert with_camel_keys({name: 1}) == {spelled: 1}
    assert fields({name: 1}) == f"{spelled}: 1"


def keys_of(data: Any) -> set[str]:
    """Every key in an answer, but not those of an audit entry's detail."""
    if isinstance(data, dict):
        below = (keys_of(value) for name, value in data.items() if name != "detail")
        return set(data).union(*below)
    return set().union(*map(keys_of, data)) if isinstance(data, list) else set()


def test_no_command_prints_a_snake_case_key(server: Server) -> None:
    server.issue("agent", "laptop-1")
    for line in (
        ["key", "list"],
        ["signing-key", "list"],
        ["audit", "list"],
        ["audit", "verify"],
        ["subject", "export", "laptop-1"],
        ["fleet", "list"],
        ["promotion", "run"],
        ["upgrade", "rehearse"],
    ):
        found = keys_of(server.cli_json(*line))
        assert found and not any("_" in key for key in found), line


def test_a_terminal_gets_colour_unless_no_color_is_set(server: Server) -> None:
    coloured = on_terminal(server, "doctor")
    assert "\x1b[32mok  \x1b[0m state folder: " in coloured
    plain = on_terminal(server, "doctor", NO_COLOR="1")
    assert not [
        code for codes in SGR.findall(plain) for code in codes.split(";") if code[:1] in {"3", "4", "9"}
    ]
    assert SGR.sub("", coloured).splitlines()[1:3] == SGR.sub("", plain).splitlines()[1:3]


def test_a_dumb_terminal_and_a_pipe_get_no_escapes(server: Server) -> None:
    assert "\x1b" not in on_terminal(server, "key", "list", TERM="dumb")
    for environ in ({}, {"FORCE_COLOR": "1"}):
        server.environ |= environ
        assert "\x1b" not in server.cli("key", "list").stdout + server.cli("doctor", check=False).stdout
    del server.environ["FORCE_COLOR"]


def test_json_has_no_colour_on_a_terminal(server: Server) -> None:
    text = on_terminal(server, "key", "list", "--json")
    assert "\x1b" not in text
    assert json.loads(text)


def test_a_narrow_terminal_cuts_no_id_in_two(server: Server) -> None:
    (first, *_) = server.cli_json("audit", "list")
    narrow = SGR.sub("", on_terminal(server, "audit", "list", columns=40))
    assert first["at"] in narrow and first["target"] in narrow


def test_a_pull_is_live_on_a_terminal_and_leaves_its_result(tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.yaml").write_text(rule_text(f"ATR-2026-{96_000 + number}"))
    config = f'[[upstream]]\nname = "atr"\nkind = "directory"\npath = "{folder}"\ninterval = 86400\n'
    with instance(tmp_path / "live", config=config) as server:
        eventually(lambda: bool(server.cli_json("upstream", "list")[0]["lastSuccess"]), "the first pull")
        (folder / "\x1b[2J.yaml").write_text("title: [")
        text = on_terminal(server, "upstream", "pull")
        assert "atr" in text and "\x1b[?25l" in text, "the cursor is hidden while lines are live"
        assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "and shown again in the end"
        assert "atr: 30 rules, nothing new, " in SGR.sub("", text)
        assert "\x1b[2J" not in text
        piped = server.cli("upstream", "pull")
        assert piped.stdout.startswith("atr: 30 rules, nothing new, ")
        assert "\x1b" not in piped.stdout + piped.stderr


def test_a_check_shows_a_bar_on_a_terminal_and_nothing_elsewhere(server: Server, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(rule_text("ATR-2026-96900"))
    assert "checking" in on_terminal(server, "rule", "check", str(tmp_path))
    assert server.cli("rule", "check", str(tmp_path)).stderr == ""
