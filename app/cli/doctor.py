"""`threatcloud doctor`: is everything under the server as it should be, and what to do where it is not."""

from pathlib import Path

import click
import msgspec

from app.cli.options import config_option, configured, json_option
from app.cli.output import show
from app.doctor.report import diagnose


@click.command()
@config_option
@json_option
def doctor(config_path: Path | None, as_json: bool) -> None:
    """Check SQLite, the database, the lock, disk, clock and keys; exit code 1 when something must be mended."""
    findings = diagnose(configured(config_path))
    marks = {"ok": "ok  ", "warning": "WARN", "failed": "FAIL"}
    lines = []
    for finding in findings:
        lines.append(f"{marks[finding.state]} {finding.check}: {finding.found}")
        if finding.todo:
            lines.append(f"     {finding.todo}")
    show(msgspec.to_builtins(findings), as_json=as_json, text="\n".join(lines))
    if any(finding.state == "failed" for finding in findings):
        raise SystemExit(1)
