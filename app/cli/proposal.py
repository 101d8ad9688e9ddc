"""`threatcloud proposal`: list, show, explain, approve, reject, set-text, withdraw, reopen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from app.cli.instance import listing, request
from app.cli.options import api_command, limit_option, reason_option, required_reason_option
from app.cli.output import columns, fields, show
from app.cli.rule import read_files

ROOT = "/api/atr-proposals"
_SUMMARY = (
    "patternHash",
    "status",
    "confirmations",
    "required",
    "ruleId",
    "reason",
    "firstSeen",
    "canarySince",
)


@click.group()
def proposal() -> None:
    """Review what the fleet proposes."""


@proposal.command("list")
@click.option("--status", default="", help="List only this state: draft, pending, confirmed, promoted, ...")
@click.option(
    "--waiting", is_flag=True, help="List only proposals that have votes enough and need a reviewer."
)
@limit_option
@api_command
def list_(status: str, waiting: bool, limit: int | None, config_path: Path | None, as_json: bool) -> None:
    """List proposals, newest first."""
    wanted = {"status": status, "waitingFor": "reviewer" if waiting else ""}
    found = listing(config_path, ROOT, limit, **wanted)
    show(found, as_json=as_json, text=columns(found, _SUMMARY[:6]))


@proposal.command("show")
@click.argument("pattern_hash")
@api_command
def show_(pattern_hash: str, config_path: Path | None, as_json: bool) -> None:
    """Show a proposal with its texts."""
    data = request(config_path, "GET", f"{ROOT}/{pattern_hash}")
    parts = [fields(data, _SUMMARY), *(f"missing: {what}" for what in data["missing"])]
    for variant in data["variants"]:
        head = fields(variant, ("variant", "supporters", "counted", "gate", "suppliedBy"))
        problems = "\n".join(f"problem: {problem}" for problem in variant["problems"])
        parts.append(f"\n{head}\n{problems}\n{variant['ruleContent']}".rstrip())
    show(data, as_json=as_json, text=parts)


@proposal.command()
@click.argument("pattern_hash")
@api_command
def explain(pattern_hash: str, config_path: Path | None, as_json: bool) -> None:
    """Explain the state of a proposal: each confirmation, counted or not, and what is missing."""
    data = request(config_path, "GET", f"{ROOT}/{pattern_hash}/why")
    head = f"{data['status']}: {data['confirmations']} of {data['required']} independent confirmations"
    votes = columns(data["votes"], ("subject", "at", "address", "counted", "reason", "variant"))
    show(data, as_json=as_json, text=[head, *data["missing"], "", votes])


@proposal.command()
@click.argument("pattern_hash")
@click.option("--variant", help="Choose this text (default: the best supported).")
@reason_option
@api_command
def approve(
    pattern_hash: str, variant: str | None, reason: str | None, config_path: Path | None, as_json: bool
) -> None:
    """Choose a text; it is published once enough scanners confirmed the proposal."""
    _decide(config_path, f"{pattern_hash}/approve", {"variant": variant, "reason": reason}, as_json)


@proposal.command("set-text")
@click.argument("pattern_hash")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@reason_option
@api_command
def set_text(
    pattern_hash: str, path: Path, reason: str | None, config_path: Path | None, as_json: bool
) -> None:
    """Give a proposal a text of your own, for drafts and where scanners disagree."""
    content = read_files(path)[0]["text"]
    _decide(config_path, f"{pattern_hash}/text", {"ruleContent": content, "reason": reason}, as_json)


def _decision(name: str, help_text: str) -> Callable[..., Any]:
    @proposal.command(name, help=help_text)
    @click.argument("pattern_hash")
    @required_reason_option
    @api_command
    def decide(pattern_hash: str, reason: str, config_path: Path | None, as_json: bool) -> None:
        _decide(config_path, f"{pattern_hash}/{name}", {"reason": reason}, as_json)

    return decide


reject = _decision("reject", "Reject a proposal; no later vote revives it.")
withdraw = _decision("withdraw", "Take the rule of a proposal out of service.")
reopen = _decision("reopen", "Revoke the decision against a proposal.")


def _decide(config_path: Path | None, path: str, body: dict[str, Any], as_json: bool) -> None:
    data = request(config_path, "POST", f"{ROOT}/{path}", json=body)
    lines = [data["message"], fields(data, ("status", "confirmations", "required")), *data.get("missing", [])]
    show(data, as_json=as_json, text=lines)
