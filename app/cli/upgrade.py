"""`threatcloud upgrade`: check, rehearse; the new release's command runs both."""

import os
from pathlib import Path
from typing import Any

import click
import msgspec

from app import __version__
from app.backup.errors import BackupError
from app.backup.snapshots import rehearse_upgrade
from app.cli.options import config_option, json_option, read_config
from app.cli.output import show
from app.config import ConfigError
from app.releases import UnknownVersion, objections


@click.group()
def upgrade() -> None:
    """Check, with the new release's command, whether an upgrade is allowed and works."""


@upgrade.command()
@click.option("--from", "older", metavar="VERSION", required=True, help="Name the release that is in use.")
@click.option(
    "--accept",
    "accepted",
    metavar="VERSION",
    multiple=True,
    help="Accept the breaking changes of this version, which you know; any number of times.",
)
@json_option
def check(older: str, accepted: tuple[str, ...], as_json: bool) -> None:
    """Check that an upgrade from VERSION is allowed; exit code 1 and one sentence for each reason against it."""
    try:
        reasons = objections(older, __version__, accepted)
    except UnknownVersion as error:
        raise click.ClickException(str(error)) from error
    data = {"from": older, "to": __version__, "allowed": not reasons, "reasons": reasons}
    _answer(data, f"{older} can be upgraded to {__version__}", as_json=as_json)


@upgrade.command()
@config_option
@json_option
def rehearse(config_path: Path | None, as_json: bool) -> None:
    """Migrate a copy of the database and check it, and the configuration; exit code 1 with the reasons against it.

    It changes nothing that is in use, and works beside the running server of the release before.
    """
    os.umask(0o077)
    data: dict[str, Any] = {"to": __version__, "allowed": False, "reasons": []}
    try:
        rehearsal = rehearse_upgrade(read_config(config_path).state_dir)
    except ConfigError as error:
        data["reasons"] = [f"configuration: {text}" for text in error.errors]
    except BackupError as error:
        data["reasons"] = [str(error)]
    else:
        data |= msgspec.to_builtins(rehearsal) | {"allowed": True}
    applied = ", ".join(data.get("migrations", [])) or "none"
    _answer(data, f"{__version__} can work with this state; migrations to apply: {applied}", as_json=as_json)


def _answer(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    show(data, as_json=as_json, text=text if data["allowed"] else data["reasons"])
    if not data["allowed"]:
        raise SystemExit(1)
