"""The documents are true: every route, command and option is in them, and nothing that is not there."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.config import SECTIONS, Config, load_config
from app.config_example import render_example
from app.web.application import create_application
from tests.server import REPOSITORY
from tests.test_architecture import LAYERS

PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((REPOSITORY / "deploy").rglob("README.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
"""Documents about the product as it is; the change log and the decisions name what was before, too."""


def routes() -> Iterator[str]:
    for route in create_application(Config()).litestar.routes:
        if route.path.startswith("/api/openapi"):
            continue
        path = re.sub(r":(str|int)\}", "}", route.path)
        for method in getattr(route, "methods", ()):
            if method != "OPTIONS":
                yield f"{method} {path}"


def documented() -> set[str]:
    text = (REPOSITORY / "docs" / "api.md").read_text()
    return set(re.findall(r"`((?:GET|POST|PATCH|DELETE) /[^`]+)`", text))


def test_every_route_is_documented_and_nothing_else() -> None:
    assert set(routes()) == documented()


def commands(command: click.Command, trail: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command that the help shows, as it is typed."""
    if isinstance(command, click.Group):
        for name, child in children(command):
            if not child.hidden:
                yield from commands(child, (*trail, name))
    else:
        yield " ".join(trail)


def children(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        child = group.get_command(context, name)
        assert child is not None
        yield name, child


def test_every_command_is_documented() -> None:
    text = (REPOSITORY / "docs" / "administration.md").read_text() + (REPOSITORY / "README.md").read_text()
    missing = [command for command in commands(main) if command not in text]
    assert missing == []


def has_current_name(words: str) -> bool:
    """False for an old name of a command, and for a command that is not there; other words are prose."""
    result = help_of(words)
    if "is now" in result.stderr:
        return False
    return result.exit_code == 0 or words.split(maxsplit=1)[0] not in main.list_commands(click.Context(main))


@functools.cache
def help_of(words: str) -> Result:
    return CliRunner().invoke(main, [*words.split(), "--help"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_in_the_documents_have_their_current_names(page: Path) -> None:
    text = page.read_text()
    shown = re.findall(r"threatcloud ((?:[a-z][a-z-]+ ?)+)", text)
    shown += re.findall(r"`([a-z][a-z-]+ [a-z][a-z-]+)[^`]*`", text)
    assert [words for words in shown if not has_current_name(words)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_tasks_in_printed_runs_are_tasks_of_the_roles(page: Path) -> None:
    for role, name in re.findall(r"^TASK \[(\w+) : (.+?)\] \**$", page.read_text(), re.MULTILINE):
        files = (REPOSITORY / "ansible" / "roles" / role).rglob("*.yml")
        names = {found for file in files for found in re.findall(r"- name: (.+)", file.read_text())}
        assert name in {found.strip("\"'") for found in names}, (
            f"{page.name} shows the task {name!r} of {role}"
        )


def test_the_example_configuration_is_the_defaults() -> None:
    path = REPOSITORY / "config.example.toml"
    assert path.read_text() == render_example(), "run: threatcloud config example > config.example.toml"
    example, defaults = load_config(path, {}), load_config(None, {})
    for section in SECTIONS:
        assert getattr(example, section) == getattr(defaults, section)


@pytest.mark.parametrize(
    "page",
    [*PAGES, REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))],
    ids=lambda page: str(page.relative_to(REPOSITORY)),
)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text()):
        if "://" in target:
            continue
        goal = page.parent / target if target else page
        assert goal.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(goal), f"{page.name} links to {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """What a heading can be linked by: lower case, `-` for a space, without punctuation (GitHub's rule)."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in readme


def test_every_decision_is_listed() -> None:
    folder = REPOSITORY / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    for record in folder.glob("0*.md"):
        assert f"({record.name})" in index


def test_the_table_of_layers_is_the_one_that_is_checked() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    table = text.partition("## Layers")[2].partition("Inside a capability")[0]
    rows = [
        re.findall(r"`(\w+)`", cells.split("|")[2]) for cells in table.splitlines() if cells.startswith("| ")
    ]
    layers = [{LAYERS[package] for package in row} for row in rows if row]
    assert all(len(layer) == 1 for layer in layers)
    heights = [layer.pop() for layer in layers]
    assert heights == sorted(set(heights), reverse=True)
    packages = {folder.name for folder in (REPOSITORY / "app").iterdir() if (folder / "__init__.py").exists()}
    assert packages <= {package for row in rows for package in row}


def test_the_glossary_names_packages_that_there_are() -> None:
    rows = re.findall(
        r"^\| .+ \| .+ \| (`.+`) \|$", (REPOSITORY / "docs" / "glossary.md").read_text(), re.MULTILINE
    )
    assert len(rows) >= 20
    for row in rows:
        assert all((REPOSITORY / "app" / package).is_dir() for package in re.findall(r"`([\w/]+)`", row)), row
