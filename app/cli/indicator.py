"""`threatcloud indicator`: list, add, remove."""

from pathlib import Path

import click

from app.cli.instance import listing, request
from app.cli.options import api_command, limit_option, reason_option
from app.cli.output import columns, show

ROOT = "/api/admin/indicators"


@click.group()
def indicator() -> None:
    """List and edit the addresses and domains in the feeds."""


@indicator.command("list")
@click.option("--kind", default="", help="List only this kind: ip or domain.")
@click.option(
    "--origin", default="", help="List only what an admin added, or what reports did: admin, reports."
)
@limit_option
@api_command
def list_(kind: str, origin: str, limit: int | None, config_path: Path | None, as_json: bool) -> None:
    """List what is in the feeds."""
    found = listing(config_path, ROOT, limit, kind=kind, origin=origin)
    names = ("kind", "value", "origin", "reputation", "category", "reporters", "addedBy")
    show(found, as_json=as_json, text=columns(found, names))


@indicator.command()
@click.argument("value")
@click.option(
    "--reputation",
    type=click.IntRange(0, 100),
    default=100,
    show_default=True,
    help="Say how bad it is; higher is worse.",
)
@click.option("--category", default="manual", show_default=True, help="List it under this category.")
@reason_option
@api_command
def add(
    value: str,
    reputation: int,
    category: str,
    reason: str | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Add a public address or domain to its feed."""
    body = {"value": value, "reputation": reputation, "category": category, "reason": reason}
    data = request(config_path, "POST", ROOT, json=body)
    show(data, as_json=as_json, text=f"listed {data['kind']} {data['value']}")


@indicator.command()
@click.argument("value")
@api_command
def remove(value: str, config_path: Path | None, as_json: bool) -> None:
    """Remove a value from its feed, and forget who reported it."""
    data = request(config_path, "DELETE", ROOT, json={"value": value})
    show(data, as_json=as_json, text=f"removed {data['value']} and {data['sightings']} reports of it")
