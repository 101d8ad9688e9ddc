"""`threatcloud config`: check, show, example."""

from pathlib import Path

import click
import msgspec

from app.cli.options import config_option, configured, json_option
from app.cli.output import show
from app.config_example import render_example


@click.group()
def config() -> None:
    """Check and show the configuration."""


@config.command()
@config_option
@json_option
def check(config_path: Path | None, as_json: bool) -> None:
    """Check the configuration; exit code 2 and one line for each error."""
    configured(config_path)
    show({"valid": True}, as_json=as_json, text="the configuration is valid")


@config.command("show")
@config_option
@json_option
def show_(config_path: Path | None, as_json: bool) -> None:
    """Show every value in force: built-in defaults, file and environment together."""
    values = msgspec.to_builtins(configured(config_path))
    lines: list[str] = []
    for section, options in values.items():
        if isinstance(options, dict):
            lines += [f"{section}.{name} = {value!r}" for name, value in options.items()]
        else:
            lines += [f"{section} {table!r}" for table in options]
    show(values, as_json=as_json, text=lines, keys_as_they_are=True)


@config.command()
def example() -> None:
    """Print an example file: every option, explained, with its default."""
    click.echo(render_example(), nl=False)
