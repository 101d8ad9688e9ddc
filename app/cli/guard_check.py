"""`threatcloud rule check --for guard`: which Guards load which rules, and why others do not."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from app.cli.instance import Instance, with_instance
from app.cli.output import Table, show
from app.fleet.guards import GuardReading, GuardSummary, read_served, read_written, summaries
from app.sandbox import Sandbox, SandboxError

READ_SECONDS = 10.0


def check_files(files: list[dict[str, str]], *, as_json: bool) -> None:
    """Print which Guards would load which files; exit code 1 when one would be served to no Guard."""
    readings = asyncio.run(_read(files))
    _show(readings, as_json=as_json, with_cap=False)
    if any(reading.refusal is not None for reading in readings):
        raise SystemExit(1)


def check_served(config_path: Path | None, *, as_json: bool) -> None:
    """Print which Guards load which of the rules in service now."""

    async def act(instance: Instance) -> list[GuardReading]:
        answer = await instance.call("GET", "/api/atr-rules", params={"format": "guard"})
        served = {item["ruleId"]: item["ruleContent"] for item in answer["data"]}
        held = instance.pages("/api/admin/rules", None, state="active")
        refused = {
            rule["ruleId"]: rule["guardRefusal"]
            async for rule in held
            if rule.get("guardRefusal") and rule["ruleId"] not in served
        }
        return [
            *(read_served(rule_id, text) for rule_id, text in served.items()),
            *(GuardReading(rule_id, reason) for rule_id, reason in refused.items()),
        ]

    _show(with_instance(config_path, act), as_json=as_json, with_cap=True)


async def _read(files: list[dict[str, str]]) -> list[GuardReading]:
    sandbox = Sandbox(READ_SECONDS)
    readings = []
    try:
        for file in files:
            try:
                reading = await sandbox.call(read_written, file["text"])
            except SandboxError as error:
                reading = GuardReading("", str(error))
            readings.append(msgspec.structs.replace(reading, rule_id=file["name"]))
    finally:
        await sandbox.close()
    return readings


def _show(readings: list[GuardReading], *, as_json: bool, with_cap: bool) -> None:
    found = summaries(readings, with_cap=with_cap)
    refused = {reading.rule_id: reading.refusal for reading in readings if reading.refusal is not None}
    lines = [f"{name}: served to no Guard: {why}" for name, why in refused.items()]
    lines += _objections(found)
    served = len(readings) - len(refused)
    rows = [[g.versions, served, g.loads, len(g.dropped), len(g.over_cap), len(g.silent)] for g in found]
    table = Table(rows, ["Guard", "served", "loads", "drops", "over cap", "never fires"])
    data: dict[str, Any] = {"guards": msgspec.to_builtins(found), "refused": refused}
    show(data, as_json=as_json, text=[*lines, table])


def _objections(found: list[GuardSummary]) -> list[str]:
    """Return one line for each rule and objection, with the versions that raise it."""
    raised: dict[tuple[str, str], list[str]] = {}
    for guard in found:
        for name, why in guard.dropped.items():
            raised.setdefault((name, f"dropped, {why}"), []).append(guard.versions)
        for name, why in guard.silent.items():
            raised.setdefault((name, f"loaded and never fired, {why}"), []).append(guard.versions)
    return [
        f"{name}: {what} (Guard {', '.join(versions) if len(versions) < len(found) else 'of any version'})"
        for (name, what), versions in sorted(raised.items())
    ]
