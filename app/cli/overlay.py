"""`threatcloud overlay`: list, show, disable, enable, pin, severity, replace, remove."""

from pathlib import Path
from typing import Any

import click

from app.cli.changes import differences
from app.cli.instance import listing, operator_name, request
from app.cli.options import F, api_command, limit_option, required_reason_option
from app.cli.output import Part, columns, fields, show
from app.cli.rule import read_files
from app.rules.validate import SEVERITIES

ROOT = "/api/admin/overlay"
_COLUMNS = ("id", "ruleId", "action", "state", "baseMoved", "declared", "expiresAt", "owner", "reason")


@click.group()
def overlay() -> None:
    """Decide on upstream's rules yourself; no update overwrites these decisions."""


@overlay.command("list")
@click.option("--rule", default="", help="List only entries of this rule.")
@click.option("--state", default="", help="List only this state: active, expired, idle or unusable.")
@limit_option
@api_command
def list_(rule: str, state: str, limit: int | None, config_path: Path | None, as_json: bool) -> None:
    """List entries by rule; `baseMoved` says that upstream has changed the rule since."""
    found = listing(config_path, ROOT, limit, rule=rule, state=state)
    show(found, as_json=as_json, text=columns(found, _COLUMNS))


@overlay.command("show")
@click.argument("entry_id")
@api_command
def show_(entry_id: str, config_path: Path | None, as_json: bool) -> None:
    """Show an entry beside upstream's rule: what upstream changed since, what we changed, and what conflicts."""
    data = request(config_path, "GET", f"{ROOT}/{entry_id}")
    names = (*_COLUMNS[:4], "problem", "upstream", "title", *_COLUMNS[5:], "severity", "guardRefusal")
    lines: list[Part] = [fields(data, names), *(f"warning: {warning}" for warning in data["warnings"])]
    if data["upstream"] is None:
        lines += ["", "no upstream has this rule in service now"]
    if data["baseMoved"]:
        lines += ["", "upstream changed since:", *differences(data["theirs"])]
    if data["ours"]:
        lines += ["", "we changed:", *differences(data["ours"])]
    if data["conflicts"]:
        lines += ["", "changed by both:", *data["conflicts"]]
    show(data, as_json=as_json, text=lines)


def _entry_command(function: F) -> F:
    """Add the options of a command that makes an entry."""
    for option in (
        click.option("--expires", help="Let it end: 90d, 12h, 30m, or an instant (default: never)."),
        click.option("--owner", help="Name who is responsible for it (default: your login)."),
        required_reason_option,
    ):
        function = option(function)
    return api_command(function)


@overlay.command()
@click.argument("rule_id")
@_entry_command
def disable(rule_id: str, **options: Any) -> None:
    """Disable a rule: it is not served."""
    _make({"action": "disable", "ruleId": rule_id}, **options)


@overlay.command()
@click.argument("rule_id")
@_entry_command
def enable(rule_id: str, **options: Any) -> None:
    """Enable a rule: it is served although its upstream's filters exclude it."""
    _make({"action": "enable", "ruleId": rule_id}, **options)


@overlay.command()
@click.argument("rule_id")
@click.option(
    "--version", help="Keep the text of this upstream version, by label or number (default: in service)."
)
@_entry_command
def pin(rule_id: str, version: str | None, **options: Any) -> None:
    """Pin one text of a rule, whatever upstream changes."""
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
@required_reason_option
@api_command
def remove(entry_id: str, reason: str, config_path: Path | None, as_json: bool) -> None:
    """Remove an entry, so that upstream's rule counts again."""
    data = request(config_path, "DELETE", f"{ROOT}/{entry_id}", params={"reason": reason})
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
    data = request(config_path, "POST", ROOT, json=body)
    lines = [f"{data['action']} {data['ruleId']}: {data['state']} (entry {data['id']})"]
    if data["state"] == "idle":
        why = "no upstream has this rule in service" if data["upstream"] is None else "it changes nothing"
        lines.append(f"for now {why}; the entry is kept")
    lines += [f"warning: {warning}" for warning in data["warnings"]]
    if data["guardRefusal"]:
        lines.append(f"not for Guards: {data['guardRefusal']}")
    show(data, as_json=as_json, text=lines)
