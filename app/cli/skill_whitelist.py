"""`threatcloud skill-whitelist`: list, add, remove."""

from pathlib import Path

import click

from app.cli.instance import request
from app.cli.options import api_command
from app.cli.output import columns, show

ROOT = "/api/skill-whitelist"


@click.group("skill-whitelist")
def skill_whitelist() -> None:
    """List and edit the skills that can be trusted."""


@skill_whitelist.command("list")
@api_command
def list_(config_path: Path | None, as_json: bool) -> None:
    """List every skill that has a vote or an entry, whether it is served or not."""
    skills = request(config_path, "GET", f"{ROOT}/all")
    names = ("skillName", "status", "confirmations", "isDisputed", "isAdminEntry", "fingerprintHash")
    show(skills, as_json=as_json, text=columns(skills, names))


@skill_whitelist.command()
@click.argument("name")
@click.option("--hash", "skill_hash", help="Add its fingerprint too.")
@api_command
def add(name: str, skill_hash: str | None, config_path: Path | None, as_json: bool) -> None:
    """Trust a skill at once; while it is on the blacklist, it is not served."""
    body = {"skillName": name, "fingerprintHash": skill_hash}
    data = request(config_path, "POST", ROOT, json=body)
    show(data, as_json=as_json, text=f"trusted {name}")


@skill_whitelist.command()
@click.argument("name")
@api_command
def remove(name: str, config_path: Path | None, as_json: bool) -> None:
    """Remove a skill from the list, and forget every vote for it."""
    data = request(config_path, "DELETE", ROOT, json={"skillName": name})
    show(data, as_json=as_json, text=f"removed {name} and {data['rows']} entries and votes")
