"""`threatcloud key`: issue, list, revoke."""

from pathlib import Path
from typing import Any

import click

from app.cli.instance import Instance, with_instance
from app.cli.options import api_command
from app.cli.output import show, table


@click.group()
def key() -> None:
    """Keys of agents, partners, reviewers and admins."""


@key.command()
@click.option("--role", required=True, type=click.Choice(["agent", "partner", "reviewer", "admin"]))
@click.option("--subject", required=True, help="Whose key it is; keys of one subject are one identity.")
@click.option("--expires", help="How long it is valid: 90d, 12h, or an instant (default: until revoked).")
@click.option("--site", help='Label of the site, for `consensus.admin_issued = "site"`.')
@api_command
def issue(
    role: str, subject: str, expires: str | None, site: str | None, config_path: Path | None, as_json: bool
) -> None:
    """Issue a key and print its token, this once."""
    body = {"role": role, "subject": subject, "expires": expires, "site": site}

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("POST", "/api/admin/keys", json=body)

    data = with_instance(config_path, act)["data"]
    show(data, as_json=as_json, text=data["token"])


@key.command("list")
@click.option("--role", default="", help="Only keys with this role.")
@click.option("--subject", default="", help="Only keys of this subject.")
@click.option("--limit", type=click.IntRange(1), help="At most so many (default: all).")
@api_command
def list_(role: str, subject: str, limit: int | None, config_path: Path | None, as_json: bool) -> None:
    """List keys, without their tokens."""

    async def act(instance: Instance) -> list[dict[str, Any]]:
        return [item async for item in instance.pages("/api/admin/keys", limit, role=role, subject=subject)]

    keys = with_instance(config_path, act)
    columns = ("id", "role", "subject", "enrolled", "issued_at", "expires_at", "revoked_at")
    rows = [[item.get(name) for name in columns] for item in keys]
    show(keys, as_json=as_json, text=table(rows, columns))


@key.command()
@click.argument("key_id")
@api_command
def revoke(key_id: str, config_path: Path | None, as_json: bool) -> None:
    """Revoke a key; the next request with it is refused."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("DELETE", f"/api/admin/keys/{key_id}")

    data = with_instance(config_path, act)["data"]
    show(data, as_json=as_json, text=f"revoked {key_id}")
