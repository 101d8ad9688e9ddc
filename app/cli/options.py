"""Options that many commands take, and how a command reads the configuration."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from app.config import Config, ConfigError, load_config

F = TypeVar("F", bound=Callable[..., Any])
SYSTEM_CONFIG = Path("/etc/threatcloud/config.toml")
DEFAULT_LIMIT = 50


def _limit(context: click.Context, param: click.Parameter, value: str) -> int | None:
    """Return a number of items, at least 1, or None for `all`; raise `click.BadParameter`."""
    if value == "all":
        return None
    if not re.fullmatch("0*[1-9][0-9]{0,8}", value):
        raise click.BadParameter("a number from 1 on, or all", context, param)
    return int(value)


config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="THREATCLOUD_CONFIG",
    help=f"Read this configuration file (default: {SYSTEM_CONFIG} where it exists, else built-in defaults).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
limit_option = click.option(
    "--limit",
    metavar="NUMBER|all",
    default=str(DEFAULT_LIMIT),
    callback=_limit,
    show_default=True,
    help="List at most so many; `all` lists every one.",
)
reason_option = click.option("--reason", help="Say why; it goes to the audit log.")
required_reason_option = click.option("--reason", required=True, help="Say why; it goes to the audit log.")


def config_file(path: Path | None) -> Path | None:
    """Return the configuration file that a command works with, None when there is none."""
    return SYSTEM_CONFIG if path is None and SYSTEM_CONFIG.exists() else path


def read_config(path: Path | None) -> Config:
    """Return the configuration that a command works with; raise `ConfigError`."""
    return load_config(config_file(path), os.environ)


def configured(path: Path | None) -> Config:
    """Return the configuration, or end with exit code 2 and one line for each error in it."""
    try:
        return read_config(path)
    except ConfigError as error:
        raise InvalidConfig(error.errors) from error


class InvalidConfig(click.ClickException):
    """A configuration with errors; it prints one line for each."""

    exit_code = 2

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(f"configuration: {error}" for error in errors))

    def show(self, file: Any = None) -> None:
        """Print the lines as they are."""
        click.echo(self.message, err=True, file=file)


def api_command(function: F) -> F:
    """Add the options of a command that talks to the instance."""
    return config_option(json_option(function))
