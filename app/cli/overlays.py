"""`threatcloud overlay`: list, show, disable, enable, pin, severity, replace, remove."""

from pathlib import Path
from typing import Any

import click

from app.cli.changes import differences
from app.cli.instance import Instance, operator_name, with_instance
from app.cli.options import F, api_command
from app.cli.output import fields, show, table
from app.cli.rules import read_files
from app.rules.validate import SEVERITIES

ROOT = "/api/admin/overlay"
_COLUMNS = ("id", "ruleId", "action", "state", "baseMoved", "declared", "expiresAt", "owner", "reason")


@click.group()
def overlay() -> None:
    """Your own decisions on upstream's rules; no update overwrites them."""


@overlay.command("list")
@click.option("--rule", default="", help="Only entries of this rule.")
@click.option("--state", default="", help="active, expired, idle or unusable.")
@api_command
def list_(rule: str, state: str, config_path: Path | None, as_json: bool) -> None:
    """List entries by rule; `baseMoved` says that upstream has changed the rule since."""

    async def act(instance: Instance) -> list[dict[str, Any]]:
        return [item async for item in instance.pages(ROOT, None, rule=rule, state=state)]

    found = with_instance(config_path, act)
    show(found, as_json=as_json, text=table([[item[name] for name in _COLUMNS] for item in found], _COLUMNS))


@overlay.command("show")
@click.argument("entry_id")
@api_command
def show_(entry_id: str, config_path: Path | None, as_json: bool) -> None:
    """Show an entry beside upstream's rule: what upstream changed since, what we did, and where that collides."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("GET", f"{ROOT}/{entry_id}")

    data = with_instance(config_path, act)["data"]
    names = (*_COLUMNS[:4], "problem", "upstream", "title", *_COLUMNS[5:], "severity", "guardRefusal")
    lines = [fields(data, names), *(f"warning: {warning}" for warning in data["warnings"])]
    if data["upstream"] is None:
        lines += ["", "no upstream has this rule in service now"]
    if data["baseMoved"]:
        lines += ["", "upstream changed since:", *differences(data["theirs"])]
    if data["ours"]:
        lines += ["", "we changed:", *differences(data["ours"])]
    if data["conflicts"]:
        lines += ["", "changed by both:", *data["conflicts"]]
    show(data, as_json=as_json, text="\n".join(lines))


def _entry_command(function: F) -> F:
    """Add what every verb takes that makes an entry."""
    for option in (
        click.option("--expires", help="When it ends: 90d, 12h, 30m, or an instant (default: never)."),
        click.option("--owner", help="Who answers for it (default: your login)."),
        click.option("--reason", required=True, help="Why."),
    ):
        function = option(function)
    return api_command(function)


@overlay.command()
@click.argument("rule_id")
@_entry_command
def disable(rule_id: str, **options: Any) -> None:
    """Do not serve a rule."""
    _make({"action": "disable", "ruleId": rule_id}, **options)


@overlay.command()
@click.argument("rule_id")
@_entry_command
def enable(rule_id: str, **options: Any) -> None:
    """Serve a rule although its upstream's filters exclude it."""
    _make({"action": "enable", "ruleId": rule_id}, **options)


@overlay.command()
@click.argument("rule_id")
@click.option(
    "--version", help="Upstream version whose text to keep, by label or number (default: in service)."
)
@_entry_command
def pin(rule_id: str, version: str | None, **options: Any) -> None:
    """Keep one text of a rule, whatever upstream makes of it."""
    _make({"action": "pin", "ruleId": rule_id, "version": version}, **options)


@overlay.command()
@click.argument("rule_id")
@click.argument("level", type=click.Choice(SEVERITIES))
@_entry_command
def severity(rule_id: str, level: str, **options: Any) -> None:
    """Serve a rule with another severity, in its text too."""
    _make({"action": "severity", "ruleId": rule_id, "severity": level}, **options)


@overlay.command()
@click.argument("rule_id")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_entry_command
def replace(rule_id: str, path: Path, **options: Any) -> None:
    """Serve a text of your own in place of upstream's, under the same id."""
    _make({"action": "replace", "ruleId": rule_id, "text": read_files(path)[0]["text"]}, **options)


@overlay.command()
@click.argument("entry_id")
@click.option("--reason", required=True, help="Why; it goes to the audit log.")
@api_command
def remove(entry_id: str, reason: str, config_path: Path | None, as_json: bool) -> None:
    """Take an entry away, so that what upstream says counts again."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("DELETE", f"{ROOT}/{entry_id}", params={"reason": reason})

    data = with_instance(config_path, act)["data"]
    show(data, as_json=as_json, text=f"removed {entry_id}")


def _make(
    entry: dict[str, Any],
    *,
    reason: str,
    owner: str | None,
    expires: str | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    body = entry | {"reason": reason, "owner": owner or operator_name(), "expires": expires}

    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("POST", ROOT, json=body)

    data = with_instance(config_path, act)["data"]
    lines = [f"{data['action']} {data['ruleId']}: {data['state']} (entry {data['id']})"]
    if data["state"] == "idle":
        why = "no upstream has this rule in service" if data["upstream"] is None else "it changes nothing"
        lines.append(f"for now {why}; the entry is kept")
    lines += [f"warning: {warning}" for warning in data["warnings"]]
    if data["guardRefusal"]:
        lines.append(f"not for Guards: {data['guardRefusal']}")
    show(data, as_json=as_json, text="\n".join(lines))
