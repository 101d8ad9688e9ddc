"""`threatcloud feedback`: list, settle."""

from pathlib import Path
from typing import Any

import click

from app.cli.instance import Instance, with_instance
from app.cli.options import api_command
from app.cli.output import show, table


@click.group()
def feedback() -> None:
    """What agents said of served rules."""


@feedback.command("list")
@api_command
def list_(config_path: Path | None, as_json: bool) -> None:
    """List rules with unsettled false-positive votes, the most contested first."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("GET", "/api/atr-feedback")

    tallies = with_instance(config_path, act)["data"]
    columns = [*tallies[0]] if tallies else []
    show(
        tallies,
        as_json=as_json,
        text=table([[tally[name] for name in columns] for tally in tallies], columns),
    )


@feedback.command()
@click.argument("rule_id")
@click.option("--reason", required=True, help="What the look into it showed; it goes to the audit log.")
@api_command
def settle(rule_id: str, reason: str, config_path: Path | None, as_json: bool) -> None:
    """Let the votes on a rule count no more: somebody has looked into them."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call(
            "POST", "/api/atr-feedback/settle", json={"ruleId": rule_id, "reason": reason}
        )

    data = with_instance(config_path, act)["data"]
    show(data, as_json=as_json, text=f"settled {data['settled']} votes on {rule_id}")
