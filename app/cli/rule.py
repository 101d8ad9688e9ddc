"""`threatcloud rule`: import, list, show, check, withdraw."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click

from app.cli.guard_check import check_files, check_served
from app.cli.instance import listing, request
from app.cli.options import api_command, limit_option, required_reason_option
from app.cli.output import columns, fields, show
from app.cli.progress import progress_bar
from app.rules.inspect import CheckResult, check_text
from app.sandbox import Sandbox, SandboxError

MAX_FILE_BYTES = 1 << 20
CHECK_SECONDS = 20.0
ROOT = "/api/admin/rules"


@click.group()
def rule() -> None:
    """Import, list, check and withdraw rules."""


@rule.command("import")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@api_command
def import_(path: Path, config_path: Path | None, as_json: bool) -> None:
    """Import a rule file, or every .yaml, .yml and .json file below a folder, as local rules.

    All or nothing: one text that is no valid rule, or an id that upstream holds, and nothing is imported.
    """
    files = read_files(path)
    click.echo(f"importing {len(files)} files", err=True)
    imported = request(config_path, "POST", f"{ROOT}/import", json={"rules": files})
    counts = {c: sum(r["change"] == c for r in imported) for c in ("added", "changed", "unchanged")}
    lines = [f"{name}: {count}" for name, count in counts.items()]
    lines += [f"{r['ruleId']}: not for Guards: {r['guardRefusal']}" for r in imported if r["guardRefusal"]]
    show(imported, as_json=as_json, text=lines)


@rule.command("list")
@click.option("--origin", default="", help="List only this origin: local, community or upstream:NAME.")
@click.option("--state", default="", help="List only this state: active, canary, quarantined or withdrawn.")
@click.option("--category", default="", help="List only this category.")
@click.option("--severity", default="", help="List only this severity.")
@limit_option
@api_command
def list_(
    origin: str,
    state: str,
    category: str,
    severity: str,
    limit: int | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """List the rules of every origin by id."""
    wanted = {"origin": origin, "state": state, "category": category, "severity": severity}
    found = listing(config_path, ROOT, limit, **wanted)
    names = ("ruleId", "origin", "state", "severity", "category", "title")
    show(found, as_json=as_json, text=columns(found, names))


@rule.command("show")
@click.argument("rule_id")
@api_command
def show_(rule_id: str, config_path: Path | None, as_json: bool) -> None:
    """Show a rule with its text, from every origin that has it."""
    found = request(config_path, "GET", f"{ROOT}/{rule_id}")
    names = ("ruleId", "origin", "state", "title", "category", "severity", "reason", "guardRefusal")
    texts = [f"{fields(item, names)}\n\n{item['text']}" for item in found]
    show(found, as_json=as_json, text=texts)


@rule.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--quality",
    type=click.Choice(["standard", "strict"]),
    default="standard",
    show_default=True,
    help="Check after the gate's standard or strict quality.",
)
@click.option(
    "--for", "reader", type=click.Choice(["guard"]), help="Say instead which stock Guards would load them."
)
@api_command
def check(
    paths: tuple[Path, ...],
    quality: Literal["standard", "strict"],
    reader: str | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Check rule files as the gate would: structure, regular expressions, time, own test cases.

    Needs no instance. Exit code 1 when a file does not pass.

    With --for guard, say which versions of the stock Guard would load each rule, and why others would not; without
    a PATH, of the rules in service now. Exit code 1 when a file would be served to no Guard.
    """
    if reader == "guard" and not paths:
        check_served(config_path, as_json=as_json)
        return
    if not paths:
        raise click.UsageError("Name a file or folder; only --for guard can do without.")
    files = [file for path in paths for file in read_files(path, is_one_of_many=len(paths) > 1)]
    if reader == "guard":
        check_files(files, as_json=as_json)
        return
    results = asyncio.run(_check(files, quality, quiet=as_json))
    failed = [result for result in results if not result["passed"]]
    lines = [f"{r['name']}: {reason}" for r in failed for reason in r["reasons"]]
    lines += [f"{r['name']}: not for Guards: {r['guard_refusal']}" for r in results if r["guard_refusal"]]
    lines.append(f"{len(results) - len(failed)} of {len(results)} pass")
    show(results, as_json=as_json, text=lines)
    if failed:
        raise SystemExit(1)


@rule.command()
@click.argument("rule_id")
@required_reason_option
@api_command
def withdraw(rule_id: str, reason: str, config_path: Path | None, as_json: bool) -> None:
    """Take a local rule out of service."""
    data = request(config_path, "POST", f"{ROOT}/{rule_id}/withdraw", json={"reason": reason})
    show(data, as_json=as_json, text=f"withdrawn {rule_id}")


def read_files(path: Path, *, is_one_of_many: bool = False) -> list[dict[str, str]]:
    """Return the texts at a path, named by their path below it, or with it if it is one of many.

    Raises `click.ClickException`.
    """
    paths = [path] if path.is_file() else sorted(p for p in path.rglob("*") if _is_rule_file(p))
    if not paths:
        raise click.ClickException(f"{path}: there is no .yaml, .yml or .json file below it")
    base = Path() if is_one_of_many else (path.parent if path.is_file() else path)
    return [{"name": str(p.relative_to(base) if base.parts else p), "text": _read(p)} for p in paths]


def _is_rule_file(path: Path) -> bool:
    return path.suffix in {".yaml", ".yml", ".json"} and path.is_file()


def _read(path: Path) -> str:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise click.ClickException(f"{path}: larger than {MAX_FILE_BYTES} bytes, so not a rule")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{path}: not UTF-8 (byte {error.start})") from error


async def _check(
    files: Sequence[dict[str, str]], quality: Literal["standard", "strict"], *, quiet: bool
) -> list[dict[str, Any]]:
    sandbox = Sandbox(CHECK_SECONDS)
    results: list[dict[str, Any]] = []
    try:
        with progress_bar("checking", len(files), quiet=quiet) as bar:
            for file in files:
                try:
                    result = await sandbox.call(check_text, file["text"], quality)
                except SandboxError as error:
                    result = CheckResult(False, (str(error),), None)
                results.append(
                    {
                        "name": file["name"],
                        "passed": result.passed,
                        "reasons": [*result.reasons],
                        "guard_refusal": result.guard_refusal,
                    }
                )
                bar.advance(1)
    finally:
        await sandbox.close()
    return results
