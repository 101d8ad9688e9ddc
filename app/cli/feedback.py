"""`threatcloud feedback`: list, dismiss."""

from pathlib import Path

import click

from app.cli.instance import request
from app.cli.options import api_command
from app.cli.output import columns, show


@click.group()
def feedback() -> None:
    """Review what agents report about served rules."""


@feedback.command("list")
@api_command
def list_(config_path: Path | None, as_json: bool) -> None:
    """List rules with false-positive votes that count, the most contested first."""
    reported = request(config_path, "GET", "/api/atr-feedback")
    show(reported, as_json=as_json, text=columns(reported, [*reported[0]] if reported else []))


@feedback.command()
@click.argument("rule_id")
@click.option("--reason", required=True, help="Say what your inspection showed; it goes to the audit log.")
@api_command
def dismiss(rule_id: str, reason: str, config_path: Path | None, as_json: bool) -> None:
    """Dismiss the votes on a rule, after you inspected them: they count no more."""
    body = {"ruleId": rule_id, "reason": reason}
    data = request(config_path, "POST", "/api/atr-feedback/settle", json=body)
    show(data, as_json=as_json, text=f"dismissed {data['settled']} votes on {rule_id}")
