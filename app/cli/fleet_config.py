"""`threatcloud fleet config`: what a host with a stock Guard needs."""

import os
import re
from pathlib import Path
from typing import IO, Any

import click

from app.cli.host_key import HostKey, as_given, enrolled, issued
from app.cli.instance import Instance, with_instance
from app.cli.options import api_command, configured
from app.cli.output import show
from app.fleet.guards import Place
from app.fleet.host_config import HostFile, HostPlan, RelayForm, host_files, plan

MAX_KEY = 8192
KEY_NOTES = {
    "kept": "The host's key is good, and stays.",
    "issued": "A new key was issued for the host.",
    "wanting": "The host needs a new key: it has none that is good. None was issued (--dry-run).",
}
"""Sentences about the key, by what was done with it."""


@click.command("config")
@click.option(
    "--guard-version", required=True, help="Name the version of the Guard on the host, such as 1.9.0."
)
@click.option(
    "--url", help="Name the URL at which hosts reach this instance (default: where it listens, over http)."
)
@click.option(
    "--relay-name",
    default="threatcloud-relay.internal",
    show_default=True,
    help="Give this name to a relay on the host itself, where the version needs one.",
)
@click.option(
    "--key-file",
    "--key",
    "key_file",
    type=click.File(),
    help="Read the host's agent key from this file, or from standard input (-).",
)
@click.option("--issue", metavar="SUBJECT", help="Issue an agent key for this subject, and put it in.")
@click.option(
    "--enrol",
    metavar="SUBJECT",
    help="Keep the key of --key-file while it is this subject's; else issue one and revoke the subject's others.",
)
@click.option("--site", help="With --issue or --enrol, label the site, as in `key issue`.")
@click.option("--dry-run", is_flag=True, help="With --enrol, say what would be issued, and issue nothing.")
@click.option(
    "--relay-form",
    type=click.Choice(["http", "stream"]),
    default="http",
    show_default=True,
    help="Choose a relay that ends the Guard's TLS, or one that forwards bytes (no private key on the host).",
)
@click.option("--ipv6/--no-ipv6", default=True, help="Say whether the host has IPv6 (default: yes).")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "files"]),
    default="text",
    show_default=True,
    help="Print text or JSON, or write files.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the files of `--format files` into this folder.",
)
@api_command
def config(
    guard_version: str,
    url: str | None,
    relay_name: str,
    key_file: IO[str] | None,
    issue: str | None,
    enrol: str | None,
    site: str | None,
    dry_run: bool,
    relay_form: RelayForm,
    ipv6: bool,
    form: str,
    output: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Print how a Guard of some version reaches this instance, and every file that its host needs.

    A key is printed only when it is given, or issued here.
    """
    if issue and (key_file or enrol):
        raise click.UsageError("--issue and --key-file exclude each other, and --enrol excludes --issue")
    if (dry_run and not enrol) or (site and not enrol and not issue):
        raise click.UsageError("--dry-run goes with --enrol, and --site with --enrol or --issue")
    if (form == "files") != (output is not None):
        raise click.UsageError("--format files and --output DIR go together")
    try:
        chosen = plan(guard_version, url or _own_url(config_path), relay_name, relay_form, ipv6=ipv6)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    held = _read_key(key_file) if key_file else None
    if enrol:
        source = enrolled(enrol, site, held or "", dry_run=dry_run)
    elif held == "":
        raise click.UsageError("the key file holds no key: one line, as `key issue` prints it")
    else:
        source = issued(issue, site) if issue else as_given(held)
    if output:
        output.mkdir(parents=True, exist_ok=True)

    async def act(instance: Instance) -> tuple[HostKey, tuple[HostFile, ...]]:
        rule_key = await instance.text("/.well-known/rule-key.pem")
        key = await source(instance)
        return key, host_files(chosen, rule_key, key.token)

    key, files = with_instance(config_path, act)
    if output:
        for file in files:
            _write(output / file.name, file)
    show(
        _data(chosen, key, files, output),
        as_json=as_json or form == "json",
        text=_text(chosen, key, files, output),
    )


def _own_url(config_path: Path | None) -> str:
    server = configured(config_path).server
    if server.host in {"0.0.0.0", "::"}:  # noqa: S104 (compared, not listened on)
        raise click.UsageError("the instance listens on every address: say with --url which one hosts use")
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"http://{host}:{server.port}"


def _read_key(file: IO[str]) -> str:
    """Return the key in a file; empty when the content cannot be a key."""
    text = file.read(MAX_KEY + 1).strip()
    return text if re.fullmatch(rf"[\x21-\x7e]{{1,{MAX_KEY}}}", text) else ""


def _write(path: Path, file: HostFile) -> None:
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)  # so that the mode below holds for a file that was there
    mode = 0o600 if file.secret else 0o644
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8"
    ) as target:
        target.write(file.text)


def _data(chosen: HostPlan, key: HostKey, files: tuple[HostFile, ...], output: Path | None) -> dict[str, Any]:
    shown = [
        {"name": file.name, "place": file.place} | ({} if output else {"text": file.text}) for file in files
    ]
    return {
        "guardVersion": chosen.version,
        "treatedAs": chosen.row.label,
        "way": chosen.way,
        "url": chosen.url,
        "endpoint": chosen.endpoint,
        "accepts": {place.name.lower(): place in chosen.row.accepts for place in Place},
        "registers": chosen.row.registers,
        "rulesFetched": chosen.row.rules_fetched,
        "notes": chosen.notes,
        "key": {"state": key.state, "revoked": key.revoked},
        "files": shown,
    }


def _text(chosen: HostPlan, key: HostKey, files: tuple[HostFile, ...], output: Path | None) -> str:
    how = "directly" if chosen.way == "direct" else "through a relay on the host"
    lines = [
        f"Guard {chosen.version} (row {chosen.row.label}) reaches {chosen.url} {how}: {chosen.endpoint}",
        "",
    ]
    lines += [f"  {'yes' if place in chosen.row.accepts else 'no ':3}  {place}" for place in Place]
    lines += ["", *(f"- {note}" for note in chosen.notes)]
    lines += [f"- {KEY_NOTES[key.state]}"] if key.state in KEY_NOTES else []
    for file in files:
        if output:
            lines.append(f"{output / file.name}: {file.place}")
        else:
            lines += ["", f"=== {file.place}", file.text.rstrip("\n")]
    return "\n".join(lines)
