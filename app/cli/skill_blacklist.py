"""`threatcloud skill-blacklist`: list, add, remove."""

from pathlib import Path

import click

from app.cli.instance import request
from app.cli.options import api_command, reason_option
from app.cli.output import columns, show

ROOT = "/api/skill-blacklist"


@click.group("skill-blacklist")
def skill_blacklist() -> None:
    """List and edit the skills that are a risk."""


@skill_blacklist.command("list")
@api_command
def list_(config_path: Path | None, as_json: bool) -> None:
    """List the blacklist as clients get it."""
    skills = request(config_path, "GET", ROOT)
    names = ("skillName", "skillHash", "reportCount", "avgRiskScore", "maxRiskLevel", "lastReported")
    show(skills, as_json=as_json, text=columns(skills, names))


@skill_blacklist.command()
@click.argument("name")
@click.option("--hash", "skill_hash", help="Add its hash too, for clients that look it up by that.")
@reason_option
@api_command
def add(
    name: str, skill_hash: str | None, reason: str | None, config_path: Path | None, as_json: bool
) -> None:
    """Block a skill at once, without any report."""
    body = {"skillName": name, "skillHash": skill_hash, "reason": reason}
    data = request(config_path, "POST", ROOT, json=body)
    show(data, as_json=as_json, text=f"blocked {name}")


@skill_blacklist.command()
@click.argument("name")
@api_command
def remove(name: str, config_path: Path | None, as_json: bool) -> None:
    """Remove a skill from the list, and forget every report on it."""
    data = request(config_path, "DELETE", ROOT, json={"skillName": name})
    show(data, as_json=as_json, text=f"removed {name} and {data['rows']} entries and reports")
