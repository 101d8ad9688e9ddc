"""`threatcloud doctor`: checks of the installation."""

from pathlib import Path

import click
import msgspec

from app.cli.options import config_option, configured, json_option
from app.cli.output import Part, Styled, show
from app.doctor.report import diagnose


@click.command()
@config_option
@json_option
def doctor(config_path: Path | None, as_json: bool) -> None:
    """Check the installation, and say what to do where something is wrong.

    SQLite, the database, the lock, disk, clock, keys, upstreams and backups are checked; exit code 1 when a check
    failed.
    """
    findings = diagnose(configured(config_path))
    marks = {"ok": ("ok  ", "green"), "warning": ("WARN", "yellow"), "failed": ("FAIL", "bold red")}
    lines: list[Part] = []
    for finding in findings:
        lines.append(Styled(*marks[finding.state], f" {finding.check}: {finding.found}"))
        if finding.todo:
            lines.append(f"     {finding.todo}")
    show(msgspec.to_builtins(findings), as_json=as_json, text=lines)
    if any(finding.state == "failed" for finding in findings):
        raise SystemExit(1)
