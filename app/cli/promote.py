"""`threatcloud promote`."""

from pathlib import Path
from typing import Any

import click

from app.cli.instance import Instance, with_instance
from app.cli.options import api_command
from app.cli.output import show


@click.command()
@api_command
def promote(config_path: Path | None, as_json: bool) -> None:
    """Run the promotion cycle now: publish what enough independent scanners confirmed."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("POST", "/api/admin/promote")

    data = with_instance(config_path, act)["data"]
    lines = [f"{name}: {value}" for name, value in data.items()]
    show(data, as_json=as_json, text="\n".join(lines))
