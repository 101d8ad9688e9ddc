"""`threatcloud publication`: list, show, diff, rollback, release."""

from pathlib import Path
from typing import Any

import click

from app.cli.instance import Instance, with_instance
from app.cli.options import api_command
from app.cli.output import fields, show, table

_SUMMARY = ("serial", "publishedAt", "total", "canary", "restores", "reason", "digest")


@click.group()
def publication() -> None:
    """The numbered, signed sets of rules that clients are served."""


@publication.command("list")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@api_command
def list_(limit: int, config_path: Path | None, as_json: bool) -> None:
    """List publications, newest first."""

    async def act(instance: Instance) -> list[dict[str, Any]]:
        return [item async for item in instance.pages("/api/publications", limit)]

    records = with_instance(config_path, act)
    columns = _SUMMARY[:6]
    show(records, as_json=as_json, text=table([[r[name] for name in columns] for r in records], columns))


@publication.command("show")
@click.argument("serial", type=int, required=False)
@api_command
def show_(serial: int | None, config_path: Path | None, as_json: bool) -> None:
    """Show one publication with its rules (default: the newest)."""

    async def act(instance: Instance) -> dict[str, Any]:
        wanted = serial
        if wanted is None:
            wanted = (await instance.call("GET", "/api/publications/current"))["data"]["serial"]
        return await instance.call("GET", f"/api/publications/{wanted}")

    data = with_instance(config_path, act)["data"]
    rules = table([[r["ruleId"], r["origin"], r["ring"]] for r in data["rules"]], ("rule", "origin", "ring"))
    show(data, as_json=as_json, text=f"{fields(data, _SUMMARY)}\n\n{rules}")


@publication.command()
@click.option("--from", "before", type=int, help="Serial to compare from (default: the one before).")
@click.option("--to", "after", type=int, help="Serial to compare to (default: the newest).")
@api_command
def diff(before: int | None, after: int | None, config_path: Path | None, as_json: bool) -> None:
    """Show which rules were added, changed and withdrawn between two publications."""
    params = {name: value for name, value in (("from", before), ("to", after)) if value is not None}

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("GET", "/api/publications/diff", params=params)

    data = with_instance(config_path, act)["data"]
    signs = (("+", "added"), ("~", "changed"), ("-", "withdrawn"))
    lines = [f"from {data['from']} to {data['to']}"]
    lines += [f"{sign} {rule_id}" for sign, name in signs for rule_id in data[name]]
    show(data, as_json=as_json, text="\n".join(lines))


@publication.command()
@click.argument("serial", type=int)
@click.option("--reason", required=True, help="Why; it goes to the audit log.")
@api_command
def rollback(serial: int, reason: str, config_path: Path | None, as_json: bool) -> None:
    """Serve an older set again, as a new publication, and hold later changes until `release`."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("POST", f"/api/publications/{serial}/rollback", json={"reason": reason})

    data = with_instance(config_path, act)["data"]
    text = f"publication {data['serial']} serves the set of {serial} again; `release` ends this"
    show(data, as_json=as_json, text=text)


@publication.command()
@api_command
def release(config_path: Path | None, as_json: bool) -> None:
    """End a rollback and publish the present set."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("POST", "/api/publications/release")

    data = with_instance(config_path, act)["data"]
    text = (
        f"publication {data['serial']} serves the present set"
        if data
        else "the present set was served already"
    )
    show(data, as_json=as_json, text=text)
