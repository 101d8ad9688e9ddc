"""`threatcloud promotion`: run."""

from pathlib import Path

import click

from app.cli.instance import request
from app.cli.options import api_command
from app.cli.output import show


@click.group()
def promotion() -> None:
    """Publish what enough independent scanners confirmed."""


@promotion.command()
@api_command
def run(config_path: Path | None, as_json: bool) -> None:
    """Run the promotion cycle now: publish what enough independent scanners confirmed."""
    data = request(config_path, "POST", "/api/admin/promote")
    show(data, as_json=as_json, text=[f"{name}: {value}" for name, value in data.items()])
