"""`threatcloud publication`: list, show, diff, rollback, resume."""

from pathlib import Path
from typing import Any

import click

from app.cli.instance import Instance, listing, request, with_instance
from app.cli.options import api_command, limit_option, required_reason_option
from app.cli.output import Styled, Table, columns, fields, show

ROOT = "/api/publications"
_SUMMARY = ("serial", "publishedAt", "total", "canary", "restores", "reason", "digest")


@click.group()
def publication() -> None:
    """Show, compare and roll back the signed sets of rules that clients are served."""


@publication.command("list")
@limit_option
@api_command
def list_(limit: int | None, config_path: Path | None, as_json: bool) -> None:
    """List publications, newest first."""
    records = listing(config_path, ROOT, limit)
    show(records, as_json=as_json, text=columns(records, _SUMMARY[:6]))


@publication.command("show")
@click.argument("serial", type=int, required=False)
@api_command
def show_(serial: int | None, config_path: Path | None, as_json: bool) -> None:
    """Show one publication with its rules (default: the newest)."""

    async def act(instance: Instance) -> dict[str, Any]:
        wanted = serial
        if wanted is None:
            wanted = (await instance.call("GET", f"{ROOT}/current"))["data"]["serial"]
        return await instance.call("GET", f"{ROOT}/{wanted}")

    data = with_instance(config_path, act)["data"]
    rules = Table([[r["ruleId"], r["origin"], r["ring"]] for r in data["rules"]], ("rule", "origin", "ring"))
    show(data, as_json=as_json, text=[fields(data, _SUMMARY), "", rules])


@publication.command()
@click.option("--from", "before", type=int, help="Compare from this serial (default: the one before).")
@click.option("--to", "after", type=int, help="Compare to this serial (default: the newest).")
@api_command
def diff(before: int | None, after: int | None, config_path: Path | None, as_json: bool) -> None:
    """Show which rules were added, changed and withdrawn between two publications."""
    params = {name: value for name, value in (("from", before), ("to", after)) if value is not None}
    data = request(config_path, "GET", f"{ROOT}/diff", params=params)
    signs = (("+", "added", "green"), ("~", "changed", "yellow"), ("-", "withdrawn", "red"))
    lines = [Styled(f"{sign} {rule_id}", style) for sign, name, style in signs for rule_id in data[name]]
    show(data, as_json=as_json, text=[f"from {data['from']} to {data['to']}", *lines])


@publication.command()
@click.argument("serial", type=int)
@required_reason_option
@api_command
def rollback(serial: int, reason: str, config_path: Path | None, as_json: bool) -> None:
    """Serve an older set again, as a new publication, and freeze it until `publication resume`."""
    data = request(config_path, "POST", f"{ROOT}/{serial}/rollback", json={"reason": reason})
    text = f"publication {data['serial']} serves the set of {serial} again until `publication resume`"
    show(data, as_json=as_json, text=text)


@publication.command()
@api_command
def resume(config_path: Path | None, as_json: bool) -> None:
    """End a rollback and publish the present set."""
    data = request(config_path, "POST", f"{ROOT}/release")
    text = (
        f"publication {data['serial']} serves the present set"
        if data
        else "the present set was served already"
    )
    show(data, as_json=as_json, text=text)
