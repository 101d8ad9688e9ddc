"""`threatcloud proposal`: list, show, why, approve, reject, text, withdraw, reopen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from app.cli.instance import Instance, with_instance
from app.cli.options import api_command
from app.cli.output import fields, show, table
from app.cli.rules import read_files

ROOT = "/api/atr-proposals"


@click.group()
def proposal() -> None:
    """Proposals of the fleet, and what a reviewer decides of them."""


@proposal.command("list")
@click.option("--status", default="", help="Only this state: draft, pending, confirmed, promoted, ...")
@click.option("--waiting", is_flag=True, help="Only what has votes enough and needs a reviewer.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@api_command
def list_(status: str, waiting: bool, limit: int, config_path: Path | None, as_json: bool) -> None:
    """List proposals, newest first."""
    wanted = {"status": status, "waitingFor": "reviewer" if waiting else ""}

    async def act(instance: Instance) -> list[dict[str, Any]]:
        return [item async for item in instance.pages(ROOT, limit, **wanted)]

    found = with_instance(config_path, act)
    columns = ("patternHash", "status", "confirmations", "required", "ruleId", "reason")
    show(found, as_json=as_json, text=table([[item[name] for name in columns] for item in found], columns))


@proposal.command("show")
@click.argument("pattern_hash")
@api_command
def show_(pattern_hash: str, config_path: Path | None, as_json: bool) -> None:
    """Show a proposal with its texts side by side."""
    data = _get(config_path, f"{ROOT}/{pattern_hash}")
    names = (
        "patternHash",
        "status",
        "confirmations",
        "required",
        "ruleId",
        "reason",
        "firstSeen",
        "canarySince",
    )
    parts = [fields(data, names), *(f"missing: {what}" for what in data["missing"])]
    for variant in data["variants"]:
        head = fields(variant, ("variant", "supporters", "counted", "gate", "suppliedBy"))
        problems = "\n".join(f"problem: {problem}" for problem in variant["problems"])
        parts.append(f"\n{head}\n{problems}\n{variant['ruleContent']}".rstrip())
    show(data, as_json=as_json, text="\n".join(parts))


@proposal.command()
@click.argument("pattern_hash")
@api_command
def why(pattern_hash: str, config_path: Path | None, as_json: bool) -> None:
    """Explain where a proposal stands: each confirmation, counted or not, and what is missing."""
    data = _get(config_path, f"{ROOT}/{pattern_hash}/why")
    columns = ("subject", "at", "address", "counted", "reason", "variant")
    votes = table([[vote[name] for name in columns] for vote in data["votes"]], columns)
    head = f"{data['status']}: {data['confirmations']} of {data['required']} independent confirmations"
    show(data, as_json=as_json, text="\n".join([head, *data["missing"], "", votes]))


@proposal.command()
@click.argument("pattern_hash")
@click.option("--variant", help="Which of its texts (default: the best supported).")
@click.option("--reason", help="Why; it goes to the audit log.")
@api_command
def approve(
    pattern_hash: str, variant: str | None, reason: str | None, config_path: Path | None, as_json: bool
) -> None:
    """Choose a text; it is published once enough scanners confirmed the proposal."""
    _decide(config_path, f"{pattern_hash}/approve", {"variant": variant, "reason": reason}, as_json)


@proposal.command()
@click.argument("pattern_hash")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--reason", help="Why; it goes to the audit log.")
@api_command
def text(pattern_hash: str, path: Path, reason: str | None, config_path: Path | None, as_json: bool) -> None:
    """Give a proposal a text of your own, for drafts and where scanners disagree."""
    content = read_files(path)[0]["text"]
    _decide(config_path, f"{pattern_hash}/text", {"ruleContent": content, "reason": reason}, as_json)


def _decision(name: str, help_text: str) -> Callable[..., Any]:
    @proposal.command(name, help=help_text)
    @click.argument("pattern_hash")
    @click.option("--reason", required=True, help="Why; it goes to the audit log.")
    @api_command
    def decide(pattern_hash: str, reason: str, config_path: Path | None, as_json: bool) -> None:
        _decide(config_path, f"{pattern_hash}/{name}", {"reason": reason}, as_json)

    return decide


reject = _decision("reject", "Turn a proposal down; no later vote revives it.")
withdraw = _decision("withdraw", "Take the rule of a proposal out of service.")
reopen = _decision("reopen", "Revoke the decision against a proposal.")


def _get(config_path: Path | None, path: str) -> dict[str, Any]:
    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("GET", path)

    data: dict[str, Any] = with_instance(config_path, act)["data"]
    return data


def _decide(config_path: Path | None, path: str, body: dict[str, Any], as_json: bool) -> None:
    async def act(instance: Instance) -> dict[str, Any]:
        return await instance.call("POST", f"{ROOT}/{path}", json=body)

    data = with_instance(config_path, act)["data"]
    lines = [data["message"], fields(data, ("status", "confirmations", "required")), *data.get("missing", [])]
    show(data, as_json=as_json, text="\n".join(lines))
