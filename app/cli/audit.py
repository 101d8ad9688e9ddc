"""`threatcloud audit`: list, verify."""

from pathlib import Path
from typing import Any

import click

from app.cli.instance import Instance, with_instance
from app.cli.options import api_command
from app.cli.output import show, table


@click.group()
def audit() -> None:
    """The append-only, hash-chained audit log."""


@audit.command("list")
@click.option("--action", default="", help="Only this action, for instance key.issue.")
@click.option("--actor", default="", help="Only what this actor did.")
@click.option("--since", default="", help="Only from this instant on.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@api_command
def list_(action: str, actor: str, since: str, limit: int, config_path: Path | None, as_json: bool) -> None:
    """List entries, newest first."""

    async def act(instance: Instance) -> list[dict[str, Any]]:
        pages = instance.pages("/api/audit-log", limit, action=action, actor=actor, since=since)
        return [item async for item in pages]

    entries = with_instance(config_path, act)
    columns = ("id", "at", "actor", "action", "target", "address")
    show(entries, as_json=as_json, text=table([[e.get(name) for name in columns] for e in entries], columns))


@audit.command()
@api_command
def verify(config_path: Path | None, as_json: bool) -> None:
    """Check the whole chain; exit code 1 when an entry was changed, removed or moved."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("GET", "/api/admin/audit/verify")

    data = with_instance(config_path, act)["data"]
    broken = data.get("broken_at")
    text = (
        f"{data['entries']} entries, unbroken; head {data['head']}"
        if broken is None
        else f"broken at entry {broken}: {data['why']}"
    )
    show(data, as_json=as_json, text=text)
    if broken is not None:
        raise SystemExit(1)
