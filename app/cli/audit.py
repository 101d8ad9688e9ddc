"""`threatcloud audit`: list, verify."""

from pathlib import Path

import click

from app.cli.instance import listing, request
from app.cli.options import api_command, limit_option
from app.cli.output import columns, show


@click.group()
def audit() -> None:
    """Read and check the append-only, hash-chained audit log."""


@audit.command("list")
@click.option("--action", default="", help="List only this action, for instance key.issue.")
@click.option("--actor", default="", help="List only what this actor did.")
@click.option("--since", default="", help="List only what happened at or after this instant.")
@limit_option
@api_command
def list_(
    action: str, actor: str, since: str, limit: int | None, config_path: Path | None, as_json: bool
) -> None:
    """List entries, newest first."""
    entries = listing(config_path, "/api/audit-log", limit, action=action, actor=actor, since=since)
    names = ("id", "at", "actor", "action", "target", "address")
    show(entries, as_json=as_json, text=columns(entries, names))


@audit.command()
@api_command
def verify(config_path: Path | None, as_json: bool) -> None:
    """Check the whole chain; exit code 1 when an entry was changed, removed or moved."""
    data = request(config_path, "GET", "/api/admin/audit/verify")
    broken = data.get("broken_at")
    text = (
        f"{data['entries']} entries, unbroken; head {data['head']}"
        if broken is None
        else f"broken at entry {broken}: {data['why']}"
    )
    show(data, as_json=as_json, text=text)
    if broken is not None:
        raise SystemExit(1)
