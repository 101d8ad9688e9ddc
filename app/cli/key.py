"""`threatcloud key`: issue, list, revoke."""

from pathlib import Path

import click

from app.cli.instance import listing, request
from app.cli.options import api_command, limit_option
from app.cli.output import columns, show

ROOT = "/api/admin/keys"


@click.group()
def key() -> None:
    """Issue, list and revoke the keys of agents, partners, reviewers and admins."""


@key.command()
@click.option("--role", required=True, type=click.Choice(["agent", "partner", "reviewer", "admin"]))
@click.option("--subject", required=True, help="Name the owner; all keys of one subject are one identity.")
@click.option("--expires", help="Let it end: 90d, 12h, or an instant (default: when it is revoked).")
@click.option("--site", help='Label the site, for `consensus.admin_issued = "site"`.')
@api_command
def issue(
    role: str, subject: str, expires: str | None, site: str | None, config_path: Path | None, as_json: bool
) -> None:
    """Issue a key and print its token, this once."""
    body = {"role": role, "subject": subject, "expires": expires, "site": site}
    data = request(config_path, "POST", ROOT, json=body)
    show(data, as_json=as_json, text=data["token"])


@key.command("list")
@click.option("--role", default="", help="List only keys with this role.")
@click.option("--subject", default="", help="List only keys of this subject.")
@limit_option
@api_command
def list_(role: str, subject: str, limit: int | None, config_path: Path | None, as_json: bool) -> None:
    """List keys, without their tokens."""
    keys = listing(config_path, ROOT, limit, role=role, subject=subject)
    names = ("id", "role", "subject", "enrolled", "issued_at", "expires_at", "revoked_at")
    show(keys, as_json=as_json, text=columns(keys, names))


@key.command()
@click.argument("key_id")
@api_command
def revoke(key_id: str, config_path: Path | None, as_json: bool) -> None:
    """Revoke a key; the next request with it is refused."""
    data = request(config_path, "DELETE", f"{ROOT}/{key_id}")
    show(data, as_json=as_json, text=f"revoked {key_id}")
