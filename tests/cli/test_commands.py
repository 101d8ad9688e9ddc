"""Every command: its help, its names, old and new, and how it takes a mistyped line."""

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from app.cli import SECTIONS, SUMMARIES, main
from app.cli.options import DEFAULT_LIMIT
from app.cli.renamed import RENAMED
from tests.server import Server

WITHOUT_JSON = {"threatcloud serve", "threatcloud config example", "threatcloud completion"}
OLD_NAMES = {
    "rules import": "rule import",
    "rules list": "rule list",
    "rules show": "rule show",
    "rules check": "rule check",
    "rules withdraw": "rule withdraw",
    "promote": "promotion run",
    "proposal why": "proposal explain",
    "proposal text": "proposal set-text",
    "upstream status": "upstream show",
    "upstream sync": "upstream pull",
    "upstream held": "upstream list-pending",
    "upstream held NAME RULE": "upstream show-pending",
    "upstream refuse": "upstream reject",
    "upstream set-aside": "upstream list-set-aside",
    "upstream versions": "upstream list-versions",
    "publication release": "publication resume",
    "feedback settle": "feedback dismiss",
    "intel threats": "threat list",
    "intel blacklist list": "skill-blacklist list",
    "intel blacklist add": "skill-blacklist add",
    "intel blacklist remove": "skill-blacklist remove",
    "intel whitelist list": "skill-whitelist list",
    "intel whitelist add": "skill-whitelist add",
    "intel whitelist remove": "skill-whitelist remove",
    "intel indicator list": "indicator list",
    "intel indicator add": "indicator add",
    "intel indicator remove": "indicator remove",
    "intel export": "subject export",
    "intel erase": "subject erase",
}
"""Every command that ever had another name."""


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below a command, with its full name."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from leaves(below, f"{path} {name}")


COMMANDS = dict(leaves(main, "threatcloud"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_can_print_json(name: str) -> None:
    done = CliRunner().invoke(main, [*name.split()[1:], "--help"])
    assert done.exit_code == 0
    assert done.output.startswith("Usage: ")
    command = COMMANDS[name]
    assert command.help, f"{name} has no help"
    assert command.help.partition("\n")[0].endswith("."), f"{name}: the first line is no sentence"
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert name in WITHOUT_JSON or any("--json" in option.opts for option in options)
    assert all(option.help for option in options if option.name not in {"role", "yes"})


def test_every_limit_has_the_same_default() -> None:
    limits = [
        option
        for command in COMMANDS.values()
        for option in command.params
        if isinstance(option, click.Option) and option.name == "limit"
    ]
    assert len(limits) >= 10
    assert {option.default for option in limits} == {str(DEFAULT_LIMIT)}


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_summary_of_a_command_is_its_own_first_sentence(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None and command.name == name
    assert command.help is not None
    assert command.help.partition("\n")[0] == SUMMARIES[name]


def test_the_help_lists_every_command_in_its_section() -> None:
    lines = CliRunner().invoke(main, ["--help"]).output.splitlines()
    for title, commands in SECTIONS.items():
        start = lines.index(f"{title}:")
        below = lines[start + 1 : lines.index("", start) if "" in lines[start:] else None]
        listed = [line.split()[0] for line in below if line.startswith("  ") and line[2] != " "]
        assert listed == list(commands)


def test_the_help_imports_none_of_the_commands() -> None:
    probe = (
        "import sys; from click.testing import CliRunner; from app.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "assert not {'litestar', 'rich', 'app.cli.instance'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)


@pytest.mark.parametrize("old", OLD_NAMES)
def test_an_old_name_still_works_and_names_the_new_one(old: str) -> None:
    new = OLD_NAMES[old]
    done = CliRunner().invoke(main, [*old.split(), "--help"], prog_name="threatcloud")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Usage: threatcloud {new} ")
    (note,) = done.stderr.splitlines()
    assert note.startswith("threatcloud: '")
    renamed, _, to = note.removeprefix("threatcloud: ").partition(" is now ")
    assert old.startswith(renamed.strip("'"))
    assert new.startswith(to.strip("'"))
    assert f"threatcloud {new}" in COMMANDS
    assert f"threatcloud {old}" not in COMMANDS


def test_every_row_of_the_table_of_old_names_is_tried() -> None:
    for old, new in RENAMED.items():
        tried = [name for name in OLD_NAMES if f"{name} ".startswith(f"{old} ")]
        assert tried, old
        assert all(f"{OLD_NAMES[name]} ".startswith(f"{new} ") for name in tried if "RULE" not in name)


def test_a_new_name_says_nothing_of_old_ones() -> None:
    done = CliRunner().invoke(main, ["upstream", "list-pending", "--help"])
    assert done.stderr == ""


def test_a_group_that_was_divided_names_its_parts() -> None:
    for line in (["intel"], ["intel", "skills"], ["intel", "--help"]):
        done = CliRunner().invoke(main, line)
        assert done.exit_code == 2
        assert "  intel threats is threat list\n" in done.stderr


def test_an_old_name_prints_its_note_on_stderr_only(server: Server) -> None:
    done = server.cli("rules", "list", "--json")
    assert done.stdout == "[]\n"
    assert done.stderr == "threatcloud: 'rules' is now 'rule'\n"


def test_a_mistyped_line_is_a_usage_error(server: Server) -> None:
    for line in (
        ["keys"],
        ["key", "issue"],
        ["key", "issue", "--role", "root", "--subject", "x"],
        ["promote", "-x"],
        ["promotion", "run", "-x"],
    ):
        done = server.cli(*line, check=False)
        assert done.returncode == 2
        assert "Usage: " in done.stderr
