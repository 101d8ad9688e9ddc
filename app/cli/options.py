"""Options that every verb takes, and how a verb reads the configuration."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from app.config import Config, ConfigError, load_config

F = TypeVar("F", bound=Callable[..., Any])
SYSTEM_CONFIG = Path("/etc/threatcloud/config.toml")

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="THREATCLOUD_CONFIG",
    help=f"Configuration file (default: {SYSTEM_CONFIG} where it exists, else built-in defaults).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def config_file(path: Path | None) -> Path | None:
    """The configuration file that a verb works with, None when there is none."""
    return SYSTEM_CONFIG if path is None and SYSTEM_CONFIG.exists() else path


def read_config(path: Path | None) -> Config:
    """The configuration that a verb works with; raises `ConfigError`."""
    return load_config(config_file(path), os.environ)


def configured(path: Path | None) -> Config:
    """`read_config`, with every mistake printed and exit code 2."""
    try:
        return read_config(path)
    except ConfigError as error:
        raise ConfigMistakes(error.mistakes) from error


class ConfigMistakes(click.ClickException):
    """Prints one line a mistake."""

    exit_code = 2

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(f"configuration: {mistake}" for mistake in mistakes))

    def show(self, file: Any = None) -> None:
        """Print the lines as they are."""
        click.echo(self.message, err=True, file=file)


def api_command(function: F) -> F:
    """Add the options of a verb that talks to the instance."""
    return config_option(json_option(function))
