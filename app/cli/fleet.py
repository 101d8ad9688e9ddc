"""`threatcloud fleet`: list, show; `config` has a module of its own."""

from pathlib import Path
from typing import Any

import click

from app.cli.fleet_config import config
from app.cli.instance import Instance, with_instance
from app.cli.options import api_command
from app.cli.output import fields, show, table

ROOT = "/api/admin/fleet"


@click.group()
def fleet() -> None:
    """Enrolled agents, how they stand, and what their hosts need."""


fleet.add_command(config)


@fleet.command("list")
@click.option(
    "--standing", type=click.Choice(["current", "behind", "never"]), help="Only those that stand so."
)
@click.option("--stale", is_flag=True, help="Only those that were not heard of for too long.")
@click.option("--limit", type=click.IntRange(1), help="At most so many (default: all).")
@api_command
def list_(
    standing: str | None, stale: bool, limit: int | None, config_path: Path | None, as_json: bool
) -> None:
    """List agents, the newest key first."""
    wanted = {"standing": standing or "", "stale": "yes" if stale else ""}

    async def act(instance: Instance) -> list[dict[str, Any]]:
        return [item async for item in instance.pages(ROOT, limit, **wanted)]

    agents = with_instance(config_path, act)
    columns = ("id", "subject", "hostname", "version", "lastSeen", "stale", "standing", "serial")
    show(
        agents, as_json=as_json, text=table([[agent[name] for name in columns] for agent in agents], columns)
    )


@fleet.command("show")
@click.argument("agent_id")
@api_command
def show_(agent_id: str, config_path: Path | None, as_json: bool) -> None:
    """Show one agent, by the id of its key."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("GET", f"{ROOT}/{agent_id}")

    data = with_instance(config_path, act)["data"]
    show(data, as_json=as_json, text=fields(data, [*data]))
