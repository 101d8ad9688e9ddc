"""`threatcloud intel`: threats, skill lists, indicators, one client's data."""

from pathlib import Path
from typing import Any

import click

from app.cli.instance import Instance, with_instance
from app.cli.options import api_command
from app.cli.output import show, table


@click.group()
def intel() -> None:
    """What the fleet reports, the lists that follow from it, and one client's data."""


@intel.command()
@click.option("--channel", default="", help="Only what came this way: threats, trap or manager.")
@click.option("--limit", type=click.IntRange(1), default=50, help="At most so many (default: 50).")
@api_command
def threats(channel: str, limit: int, config_path: Path | None, as_json: bool) -> None:
    """List threat events, the newest first."""
    rows = _all(config_path, "/api/threats", limit, channel=channel)
    columns = ("hour", "channel", "subject", "sourceNetwork", "attackType", "mitreTechnique", "ruleIds")
    show(rows, as_json=as_json, text=_table(rows, columns))


@intel.group()
def blacklist() -> None:
    """Skills that are a risk."""


@blacklist.command("list")
@api_command
def list_blacklist(config_path: Path | None, as_json: bool) -> None:
    """List them, as clients get them."""
    rows = _get(config_path, "/api/skill-blacklist")
    columns = ("skillName", "skillHash", "reportCount", "avgRiskScore", "maxRiskLevel", "lastReported")
    show(rows, as_json=as_json, text=_table(rows, columns))


@blacklist.command("add")
@click.argument("name")
@click.option("--hash", "skill_hash", help="Its hash, for clients that look it up by that.")
@click.option("--reason", help="Why; it goes to the audit log.")
@api_command
def add_blacklist(
    name: str, skill_hash: str | None, reason: str | None, config_path: Path | None, as_json: bool
) -> None:
    """Block a skill at once, without any report."""
    body = {"skillName": name, "skillHash": skill_hash, "reason": reason}
    data = _send(config_path, "POST", "/api/skill-blacklist", body)
    show(data, as_json=as_json, text=f"blocked {name}")


@blacklist.command("remove")
@click.argument("name")
@api_command
def remove_blacklist(name: str, config_path: Path | None, as_json: bool) -> None:
    """Take a skill off, and forget every report on it."""
    data = _send(config_path, "DELETE", "/api/skill-blacklist", {"skillName": name})
    show(data, as_json=as_json, text=f"removed {name} and {data['rows']} entries and reports")


@intel.group()
def whitelist() -> None:
    """Skills that can be trusted."""


@whitelist.command("list")
@api_command
def list_whitelist(config_path: Path | None, as_json: bool) -> None:
    """List every skill that somebody trusts, listed or not."""
    rows = _get(config_path, "/api/skill-whitelist/all")
    columns = ("skillName", "status", "confirmations", "isDisputed", "isAdminEntry", "fingerprintHash")
    show(rows, as_json=as_json, text=_table(rows, columns))


@whitelist.command("add")
@click.argument("name")
@click.option("--hash", "skill_hash", help="Its fingerprint.")
@api_command
def add_whitelist(name: str, skill_hash: str | None, config_path: Path | None, as_json: bool) -> None:
    """Trust a skill at once; while it is on the blacklist, it is not served."""
    body = {"skillName": name, "fingerprintHash": skill_hash}
    data = _send(config_path, "POST", "/api/skill-whitelist", body)
    show(data, as_json=as_json, text=f"trusted {name}")


@whitelist.command("remove")
@click.argument("name")
@api_command
def remove_whitelist(name: str, config_path: Path | None, as_json: bool) -> None:
    """Take a skill off, and forget every vote for it."""
    data = _send(config_path, "DELETE", "/api/skill-whitelist", {"skillName": name})
    show(data, as_json=as_json, text=f"removed {name} and {data['rows']} entries and votes")


@intel.group()
def indicator() -> None:
    """Addresses and domains in the feeds."""


@indicator.command("list")
@click.option("--kind", default="", help="Only ip or domain.")
@click.option("--origin", default="", help="Only what an admin added, or what reports did: admin, reports.")
@click.option("--limit", type=click.IntRange(1), help="At most so many (default: all).")
@api_command
def list_indicators(
    kind: str, origin: str, limit: int | None, config_path: Path | None, as_json: bool
) -> None:
    """List what is in the feeds."""
    rows = _all(config_path, "/api/admin/indicators", limit, kind=kind, origin=origin)
    columns = ("kind", "value", "origin", "reputation", "category", "reporters", "addedBy")
    show(rows, as_json=as_json, text=_table(rows, columns))


@indicator.command("add")
@click.argument("value")
@click.option(
    "--reputation", type=click.IntRange(0, 100), default=100, help="Higher is worse (default: 100)."
)
@click.option("--category", default="manual", help="What it is listed as (default: manual).")
@click.option("--reason", help="Why; it goes to the audit log.")
@api_command
def add_indicator(
    value: str,
    reputation: int,
    category: str,
    reason: str | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """List a public address or domain."""
    body = {"value": value, "reputation": reputation, "category": category, "reason": reason}
    data = _send(config_path, "POST", "/api/admin/indicators", body)
    show(data, as_json=as_json, text=f"listed {data['kind']} {data['value']}")


@indicator.command("remove")
@click.argument("value")
@api_command
def remove_indicator(value: str, config_path: Path | None, as_json: bool) -> None:
    """Take a value off its feed, and forget who reported it."""
    data = _send(config_path, "DELETE", "/api/admin/indicators", {"value": value})
    show(data, as_json=as_json, text=f"removed {data['value']} and {data['sightings']} reports of it")


@intel.command()
@click.argument("subject")
@api_command
def export(subject: str, config_path: Path | None, as_json: bool) -> None:
    """Print everything tied to one client; --json prints the rows themselves."""
    data = _get(config_path, f"/api/admin/subjects/{subject}/data")
    show(data, as_json=as_json, text=table([*data["rows"].items()], ("class", "rows")))


@intel.command()
@click.argument("subject")
@click.option("--yes", is_flag=True, help="Do not ask.")
@api_command
def erase(subject: str, yes: bool, config_path: Path | None, as_json: bool) -> None:
    """Delete everything tied to one client, its votes included; its keys and the audit log stay."""
    if not yes:
        click.confirm(f"Delete everything tied to {subject}?", abort=True, err=True)
    data = _send(config_path, "DELETE", f"/api/admin/subjects/{subject}/data", None)
    rows = [(name, count, "deleted") for name, count in data["erased"].items()]
    rows += [(name, count, "kept") for name, count in data["kept"].items()]
    show(data, as_json=as_json, text=table(rows, ("class", "rows", "")))


def _get(config_path: Path | None, path: str) -> Any:
    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("GET", path)

    return with_instance(config_path, act)["data"]


def _send(config_path: Path | None, method: str, path: str, body: dict[str, Any] | None) -> Any:
    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call(method, path, json=body)

    return with_instance(config_path, act)["data"]


def _all(config_path: Path | None, path: str, limit: int | None, **query: str) -> list[dict[str, Any]]:
    async def act(instance: Instance) -> list[dict[str, Any]]:
        return [item async for item in instance.pages(path, limit, **query)]

    return with_instance(config_path, act)


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    return table([[row.get(name) for name in columns] for row in rows], columns)
