"""The documents are true: every route, verb and option is in them, and nothing that is not there."""

import re
from collections.abc import Iterator

import click
import pytest

from app.cli import main
from app.config import SECTIONS, Config, load_config
from app.config_example import render_example
from app.web.application import create_application
from tests.server import REPOSITORY


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


def verbs(command: click.Command, trail: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from verbs(child, (*trail, name))
    else:
        yield " ".join(trail)


def test_every_verb_is_documented() -> None:
    text = (REPOSITORY / "docs" / "operating.md").read_text() + (REPOSITORY / "README.md").read_text()
    missing = [verb for verb in verbs(main) if f"{verb}" not in text]
    assert missing == []


def test_the_example_configuration_is_the_defaults() -> None:
    path = REPOSITORY / "config.example.toml"
    assert path.read_text() == render_example(), "run: threatcloud config example > config.example.toml"
    example, defaults = load_config(path, {}), load_config(None, {})
    for section in SECTIONS:
        assert getattr(example, section) == getattr(defaults, section)


@pytest.mark.parametrize(
    "name",
    [
        *("README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/guard-relay/README.md"),
        *sorted(f"docs/{page.name}" for page in (REPOSITORY / "docs").glob("*.md")),
    ],
)
def test_links_lead_somewhere(name: str) -> None:
    page = REPOSITORY / name
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name} links to {target}"


def test_every_decision_is_listed() -> None:
    folder = REPOSITORY / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    for record in folder.glob("0*.md"):
        assert f"({record.name})" in index
