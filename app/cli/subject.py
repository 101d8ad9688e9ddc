"""`threatcloud subject`: export, erase."""

from pathlib import Path

import click

from app.cli.instance import request
from app.cli.options import api_command
from app.cli.output import Table, show


@click.group()
def subject() -> None:
    """Export or erase everything that is tied to one client."""


@subject.command()
@click.argument("name", metavar="SUBJECT")
@api_command
def export(name: str, config_path: Path | None, as_json: bool) -> None:
    """Count everything that is tied to one client; --json prints the rows themselves."""
    data = request(config_path, "GET", f"/api/admin/subjects/{name}/data")
    show(data, as_json=as_json, text=Table([*data["rows"].items()], ("class", "rows")))


@subject.command()
@click.argument("name", metavar="SUBJECT")
@click.option("--yes", is_flag=True, help="Do not ask.")
@api_command
def erase(name: str, yes: bool, config_path: Path | None, as_json: bool) -> None:
    """Delete everything tied to one client, its votes included; its keys and the audit log stay."""
    if not yes:
        click.confirm(f"Delete everything tied to {name}?", abort=True, err=True)
    data = request(config_path, "DELETE", f"/api/admin/subjects/{name}/data", json=None)
    rows = [(kind, count, "deleted") for kind, count in data["erased"].items()]
    rows += [(kind, count, "kept") for kind, count in data["kept"].items()]
    show(data, as_json=as_json, text=Table(rows, ("class", "rows", "")))
