"""`threatcloud fleet`: list, show; `fleet_config.py` holds `config`."""

from pathlib import Path

import click

from app.cli.fleet_config import config
from app.cli.instance import listing, request
from app.cli.options import api_command, limit_option
from app.cli.output import columns, fields, show

ROOT = "/api/admin/fleet"


@click.group()
def fleet() -> None:
    """List agents, and write what their hosts need."""


fleet.add_command(config)


@fleet.command("list")
@click.option(
    "--standing",
    type=click.Choice(["current", "behind", "never"]),
    help="List only agents that have the current rules, older ones, or never had any.",
)
@click.option("--stale", is_flag=True, help="List only agents that were silent for too long.")
@limit_option
@api_command
def list_(
    standing: str | None, stale: bool, limit: int | None, config_path: Path | None, as_json: bool
) -> None:
    """List agents, the newest key first."""
    wanted = {"standing": standing or "", "stale": "yes" if stale else ""}
    agents = listing(config_path, ROOT, limit, **wanted)
    names = ("id", "subject", "hostname", "version", "lastSeen", "stale", "standing", "serial")
    show(agents, as_json=as_json, text=columns(agents, names))


@fleet.command("show")
@click.argument("agent_id")
@api_command
def show_(agent_id: str, config_path: Path | None, as_json: bool) -> None:
    """Show one agent, by the id of its key."""
    data = request(config_path, "GET", f"{ROOT}/{agent_id}")
    show(data, as_json=as_json, text=fields(data))
