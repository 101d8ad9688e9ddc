"""`threatcloud threat`: list."""

from pathlib import Path

import click

from app.cli.instance import listing
from app.cli.options import api_command, limit_option
from app.cli.output import columns, show


@click.group()
def threat() -> None:
    """List what the fleet reports."""


@threat.command("list")
@click.option("--channel", default="", help="List only what came this way: threats, trap or manager.")
@limit_option
@api_command
def list_(channel: str, limit: int | None, config_path: Path | None, as_json: bool) -> None:
    """List threat events, the newest first."""
    events = listing(config_path, "/api/threats", limit, channel=channel)
    names = ("hour", "channel", "subject", "sourceNetwork", "attackType", "mitreTechnique", "ruleIds")
    show(events, as_json=as_json, text=columns(events, names))
